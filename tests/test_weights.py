"""The table of published weights, finding records in it, names of classes."""

import pickle
import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skdeep.features import (
    Preprocessing,
    WeightsRecord,
    find_network,
    find_weights,
    labels,
    list_weights,
)
from skdeep.features.networks import NETWORKS
from skdeep.features.records import WEIGHTS

RECORDS = list_weights()
OF_OXFORD = (("vgg16", "keras"), ("vgg19", "keras"))  # Caffe's weights in Keras' format


def of(value, n):
    """Sizes may be one number or a pair."""
    return (value,) * n if isinstance(value, int) else value


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.network}-{r.tag}")
def test_records_say_what_is_needed(record):
    assert WEIGHTS[record.network, record.tag] is record
    assert record.licence and record.source and record.size > 1_000_000
    assert record.labels in ("imagenet", None)
    assert record.file == record.file.strip() and record.file
    if record.url is None:
        assert record.note
    else:
        assert re.fullmatch(r"https?://[\w.-]+/[\w./~-]+", record.url)
        assert len(record.sha256) >= 8 or record.sha1 or record.md5
        assert record.url.startswith("https") or record.sha1 or len(record.sha256) == 64
    for name, value in record.metrics.items():
        assert name.startswith("imagenet_") and 40 < value < 100
    if record.metrics:
        assert sorted(record.metrics.values()) == list(record.metrics.values())
    assert pickle.loads(pickle.dumps(record)) == record and hash(record) is not None


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.network}-{r.tag}")
def test_preprocessing_of_records(record):
    p = record.preprocessing
    resize, crop = of(p.resize, 2), of(p.crop, 2)
    assert all(c <= r <= 2 * c for r, c in zip(resize, crop))
    assert min(crop) >= 221 or record.network == "formula"
    assert p.interpolation in ("bilinear", "bicubic") and p.channels in ("rgb", "bgr")
    assert len(p.mean) == len(p.std) == 3 and min(p.std) > 0
    # Levels 0 and 255 end up where networks are used to have their input.
    lo, hi = ((np.array([0, 255])[:, None] * p.scale - p.mean) / p.std).T.reshape(3, 2).T
    assert np.all(lo < 0) and np.all(hi > 0) and np.all(hi - lo < 256)
    of_caffe = record.naming == "caffe" or (record.network, record.tag) in OF_OXFORD
    assert (p.scale == 1) == (of_caffe or record.naming == "overfeat")
    assert (p.channels == "bgr") == of_caffe


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r.network}-{r.tag}")
def test_hashes_are_those_in_the_names_of_files(record):
    """torchvision's files are named by the first digits of their SHA-256."""
    if record.url and "pytorch.org" in record.url:
        digits = re.search(r"-([0-9a-f]{8,10})\.pth$", record.file)[1]
        assert record.sha256.startswith(digits)


def test_every_network_has_weights():
    networks = {record.network for record in RECORDS}
    assert networks == set(NETWORKS)
    for name in networks:
        assert find_weights(name) == list_weights(name)[0]
        by_half = find_weights(name).preprocessing.mean == (0.5, 0.5, 0.5)
        assert by_half == (find_network(name).transform_input or name in ("vit_s_16", "formula"))
        assert find_weights(name).preprocessing.crop in (
            find_network(name).input_shape[0],
            find_network(name).input_shape[:2],
        )


def test_defaults_are_the_plain_recipes():
    for name in ("resnet50", "resnet152", "mobilenet_v2", "regnet_y_400mf"):
        assert find_weights(name).tag == "V1"
        assert find_weights(name, "V2").preprocessing.resize == 232
        assert find_weights(name, "IMAGENET1K_V2") is find_weights(name, "V2")
        assert (
            find_weights(name, "V2").metrics["imagenet_top1"]
            > find_weights(name).metrics["imagenet_top1"]
        )
    assert not [record for record in RECORDS if "swag" in record.tag.lower()]


def test_facts_of_some_files():
    record = find_weights("resnet50")
    assert record.url == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert record.preprocessing == Preprocessing() and record.labels == "imagenet"
    assert abs(record.size - 102_530_333) < 1000
    assert find_weights("efficientnet_b0").preprocessing.interpolation == "bicubic"
    assert find_weights("inception_v3").preprocessing.crop == 299
    caffe = find_weights("caffenet").preprocessing
    assert (caffe.resize, caffe.crop, caffe.channels) == ((256, 256), 227, "bgr")
    assert find_weights("vgg16", "features").labels is None


def test_a_local_file(tmp_path, monkeypatch):
    path = tmp_path / "weights (mine).pth"
    path.write_bytes(b"12345")
    for given in (path, str(path)):
        record = find_weights("efficientnet_b0", given)
        assert record.preprocessing == find_weights("efficientnet_b0").preprocessing
        assert (record.tag, record.file, record.path) == (path.name, path.name, str(path))
        assert record.url is None and record.size == 5 and not record.sha256
    # A file that is named as a published one is taken to be it, with its preprocessing.
    path = tmp_path / "resnet50-11ad3fa6.pth"
    path.write_bytes(b"")
    assert find_weights("resnet50", path).preprocessing.resize == 232
    monkeypatch.chdir(tmp_path)
    assert find_weights("resnet50", "resnet50-11ad3fa6.pth").path == str(path)
    with pytest.raises(ValueError, match="pads unevenly"):
        (tmp_path / "tf_efficientnet_b0.pth").write_bytes(b"")
        find_weights("efficientnet_b0", "tf_efficientnet_b0.pth")
    assert find_weights("unheard_of", path).preprocessing.crop == (224, 224)
    monkeypatch.setitem(NETWORKS, "tiny", type("A", (), {"input_shape": (32, 48, 3)}))
    assert find_weights("tiny", path).preprocessing.crop == (32, 48)


def test_a_record_of_ones_own():
    record = WeightsRecord("resnet18", "mine", "https://example.org/a.pth")
    assert find_weights("resnet18", record) is record
    with pytest.raises(ValueError, match="those of 'resnet18', not of 'resnet34'"):
        find_weights("resnet34", record)
    with pytest.raises(FrozenInstanceError):
        record.tag = "other"


def test_what_is_not_there():
    with pytest.raises(ValueError, match=r"no weights 'V3' .* no file .* one of \['V1', 'V2'\]"):
        find_weights("resnet50", "V3")
    with pytest.raises(ValueError, match="none are published"):
        find_weights("unheard_of")
    with pytest.raises(ValueError, match="neither a tag nor a path"):
        find_weights("resnet50", 3)
    assert list_weights("unheard_of") == []


def test_labels():
    names = labels("imagenet")
    assert names.shape == (1000,) and names.dtype.kind == "U" and labels() is names
    assert len(np.unique(names)) == 1000 and not names.flags.writeable
    assert all(name == name.strip() and name for name in names)
    # Numbers that every list of these classes agrees on.
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 340: "zebra", 999: "toilet tissue"}
    assert {i: str(names[i]) for i in known} == known
    with pytest.raises(ValueError, match="'cifar'"):
        labels("cifar")

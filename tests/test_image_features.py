"""Pretrained networks as transformers, classifiers and layers, as a user of scikit-learn has them.

The network is a small one of known weights, so that the answers can be computed by hand here.
"""

import pickle
import threading
from functools import partial

import joblib
import numpy as np
import pytest
from scipy.special import softmax
from sklearn import config_context as sklearn_config
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from skdeep import NeuralNetClassifier, config_context, set_config
from skdeep.features import (
    Architecture,
    ImageClassifier,
    ImageFeatures,
    ImageLoader,
    ImageLocalizer,
    Location,
    Preprocessing,
    Pretrained,
    RandomFeatures,
    network,
    random_weights,
    sources,
)
from skdeep.features.extraction import Extractor
from skdeep.features.image_localizer import suppress
from skdeep.features.layer_table import layer_table
from skdeep.features.networks import NETWORKS
from skdeep.formats import write_weights
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Sequential,
    SqueezeExcite,
)
from skdeep.layers.network import Network
from skdeep.training import SGD

RECIPE = Preprocessing(resize=20, crop=16)
LABELS = ("dog", "cat", "owl", "fox", "eel")


def tiny_layers(n_outputs=5):
    block = [("conv", Conv2D(12, 3, padding=1, use_bias=False)), ("bn", BatchNorm("relu"))]
    return [
        ("conv1", Conv2D(8, 3, stride=2, padding=1, activation="relu")),
        ("block", Sequential(block)),
        ("down", MaxPool2D(2)),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


TINY = Architecture(
    "tiny",
    tiny_layers,
    paper="none",
    points=(
        ("stem", "conv1"), ("stage1", "block"), ("stage2", "down"), ("pool", "avgpool"),
        ("penultimate", "avgpool"), ("logits", "fc"),
    ),
    input_shape=(16, 16, 3),
    n_outputs=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def weights():
    return random_weights(TINY.network(), seed=1)


@pytest.fixture(scope="module")
def state(weights):
    return TINY.to_torchvision(weights)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    write_weights(path, {k: np.ascontiguousarray(v) for k, v in state.items()})
    return path


@pytest.fixture(scope="module")
def pictures():
    """Different sizes, two classes: one is brighter on the left."""
    rng = np.random.RandomState(0)
    X = []
    for k in range(24):
        a = rng.randint(0, 120, (rng.randint(18, 40), rng.randint(18, 40), 3)).astype(np.uint8)
        a[:, : a.shape[1] // 2] += np.uint8(100 * (k % 2))
        X.append(a)
    return X


@pytest.fixture
def tiny(file):
    return partial(ImageFeatures, TINY, weights=file, preprocessing=RECIPE)


def by_hand(weights, pictures, layer):
    """Activations of a layer in float64, with nothing of the package but preprocessing."""
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    x = np.stack([RECIPE(p) for p in pictures]).astype(np.float64)

    def conv(x, kernel, stride):
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = (x.shape[1] - 3) // stride + 1, (x.shape[2] - 3) // stride + 1
        return sum(
            x[:, p : p + stride * rows : stride, q : q + stride * columns : stride][
                :, :rows, :columns
            ]
            @ kernel[p, q]
            for p in range(3)
            for q in range(3)
        )

    seen = {}
    x = seen["conv1"] = np.maximum(conv(x, w["conv1.W"], 2) + w["conv1.b"], 0)
    x = conv(x, w["block.conv.W"], 1)
    gamma, beta, mean, var = (w[f"block.bn.{k}"] for k in ("gamma", "beta", "mean", "var"))
    x = seen["block"] = np.maximum((x - mean) / np.sqrt(var + 1e-5) * gamma + beta, 0)
    n, h, wide, c = x.shape
    x = seen["down"] = x.reshape(n, h // 2, 2, wide // 2, 2, c).max(axis=(2, 4))
    x = seen["avgpool"] = x.mean(axis=(1, 2))
    seen["fc"] = x @ w["fc.W"] + w["fc.b"]
    return seen[layer]


# -- the transformer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("stem", "conv1"),
        ("stage1", "block"),
        ("block", "block"),
        ("pool", "avgpool"),
        ("logits", "fc"),
    ],
)
def test_features_are_those_of_the_network(tiny, weights, pictures, layer, name):
    expected = by_hand(weights, pictures, name)
    if expected.ndim == 4:
        maps = tiny(layer, pool=None).fit_transform(pictures)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)
        highest = tiny(layer, pool="max").fit_transform(pictures)
        np.testing.assert_allclose(highest, expected.max(axis=(1, 2)), rtol=1e-4, atol=1e-5)
        flat = tiny(layer, pool="flatten").fit_transform(pictures)
        np.testing.assert_allclose(flat, expected.reshape(len(flat), -1), rtol=1e-4, atol=1e-5)
        expected = expected.mean(axis=(1, 2))
    features = tiny(layer).fit_transform(pictures)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_several_layers_are_side_by_side(tiny, pictures):
    one = [tiny(layer).transform(pictures) for layer in ("stage1", "pool")]
    both = tiny(["stage1", "pool"]).fit(pictures)
    assert np.array_equal(both.transform(pictures), np.hstack(one))
    names = both.get_feature_names_out()
    assert names[0] == "stage1_0" and names[-1] == "pool_11" and len(names) == 24
    frame = both.set_output(transform="pandas").transform(pictures)
    assert list(frame.columns) == list(names)


def test_bits_do_not_depend_on_batches_threads_or_company(tiny, pictures):
    all_at_once = tiny(["stage1", "logits"], n_threads=2).transform(pictures)
    for batch_size, threads in ((1, 1), (5, 2), (24, 1)):
        features = tiny(["stage1", "logits"], batch_size=batch_size, n_threads=threads)
        assert np.array_equal(features.transform(pictures), all_at_once)
    assert np.array_equal(tiny(["stage1", "logits"]).transform(pictures[3:4]), all_at_once[3:4])


def test_layers_tell_shape_stride_and_field(tiny):
    table = tiny().fit().layers_
    rows = {p.name: p for p in table}
    assert rows["conv1"].shape == (8, 8, 8) and rows["conv1"].canonical == "stem"
    assert (rows["conv1"].stride, rows["conv1"].field) == (2, 3)
    assert (rows["block"].stride, rows["block"].field) == (2, 7)
    assert (rows["down"].stride, rows["down"].field) == (4, 9)
    assert rows["fc"].stride == rows["fc"].field == np.inf
    assert "stage1" in repr(table) and "whole" in repr(table)
    assert "<td>block</td>" in table._repr_html_()


def test_receptive_field_is_what_a_pixel_can_change(tiny, pictures):
    """A changed pixel changes the positions whose field covers it, and no others."""
    before = pictures[0][:20, :20].copy()
    after = before.copy()
    after[9, 9] ^= 255
    maps = tiny("block", pool=None, preprocessing=Preprocessing(None, 16)).transform(
        [before, after]
    )
    rows = np.flatnonzero(np.abs(maps[1] - maps[0]).max(axis=(1, 2)))
    # pixel 7 of the crop; position r of stride 2 and field 7 sees 2 r - 3 .. 2 r + 3
    assert rows.tolist() == [2, 3, 4, 5]


def test_fields_of_oblong_windows_and_gates():
    def layers():
        return [
            ("high", Conv2D(4, (7, 1), stride=(2, 1), padding="same")),
            ("wide", Conv2D(4, (1, 5), stride=(1, 2), padding="same")),
            ("full", Conv2D(4, 8, padding="same")),
            ("gate", SqueezeExcite(2)),
            ("after", Conv2D(4, 3)),
            ("mean", GlobalAveragePool2D()),
        ]

    net = Network(layers(), (16, 16, 3))
    net.probe()
    rows = {p.name: (p.stride, p.field) for p in layer_table(net, ())}
    inf = float("inf")
    assert rows["high"] == (2, 7) and rows["wide"] == (2, 7) and rows["full"] == (2, 7 + 7 * 2)
    assert rows["gate"] == rows["after"] == (2, inf) and rows["mean"] == (inf, inf)


def test_a_pipeline_is_searched_over_layers_and_networks(tiny, pictures, file):
    y = np.arange(24) % 2
    pipe = make_pipeline(tiny(), LogisticRegression(max_iter=2000))
    grid = {"imagefeatures__layer": ["stem", "pool"], "logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(pipe, grid, cv=3).fit(pictures, y)
    assert search.best_score_ > 0.9
    assert np.array_equal(
        pickle.loads(pickle.dumps(search)).predict(pictures), search.predict(pictures)
    )


def test_clone_and_set_params_load_nothing(tmp_path):
    features = ImageFeatures("resnet50", weights=tmp_path / "nowhere.pth")
    again = clone(features).set_params(layer="stage3", model="vgg16")
    assert again.get_params()["model"] == "vgg16" and repr(again)
    with pytest.raises(ValueError, match="nowhere.pth"):
        again.fit()


def test_a_pickle_has_no_weights_and_knows_them_again(tiny, state, pictures, file, tmp_path):
    moved = tmp_path / "tiny.npz"
    moved.write_bytes(file.read_bytes())
    features = tiny(weights=moved).fit(pictures)
    before = features.transform(pictures)
    text = pickle.dumps(features)
    assert len(text) < 10_000
    assert np.array_equal(pickle.loads(text).transform(pictures), before)
    other = {k: np.ascontiguousarray(v) * np.float32(1.5) for k, v in state.items()}
    write_weights(moved, other)
    sources.clear_loaded()
    with pytest.raises(ValueError, match="not those that this ImageFeatures was fitted with"):
        pickle.loads(text).transform(pictures)
    assert pickle.loads(text).set_params(weights=file).transform(pictures).shape == before.shape


@pytest.fixture
def replaceable(file, state, tmp_path):
    """A weights file, and a function that puts another one in its place."""
    path = tmp_path / "replaceable.npz"
    path.write_bytes(file.read_bytes())
    other = {k: np.ascontiguousarray(v) * np.float32(1.5) for k, v in state.items()}
    return path, lambda: write_weights(path, other)


def test_a_replaced_file_never_gives_wrong_features(tiny, pictures, replaceable, tmp_path):
    path, replace = replaceable
    features = tiny(weights=path, cache=tmp_path / "cache").fit()
    before = clone(features).set_params(cache=None).fit_transform(pictures)
    features._load().run(np.zeros((1, 16, 16, 3), np.float32), ("avgpool",), "auto",
                         device=features._device(), n_threads=1, **features._options())  # fmt: skip
    replace()
    with pytest.raises(ValueError, match=r"replaceable\.npz was changed or removed while"):
        features.transform(pictures)
    after = features.fit().transform(pictures)
    assert not np.allclose(after, before)
    assert np.array_equal(tiny(weights=path).transform(pictures), after)


def test_a_file_that_was_removed(tiny, pictures, replaceable):
    path, _ = replaceable
    features = tiny(weights=path).fit()
    path.unlink()
    before = features.transform(pictures)
    with pytest.raises(ValueError, match="was changed or removed while it was in use; fit again"):
        features.set_params(layer="stem").transform(pictures)
    with pytest.raises(ValueError, match="no file of that name"):
        clone(features).fit()
    text = pickle.dumps(features.set_params(layer="pool"))
    path.write_bytes(tiny().weights.read_bytes())
    with pytest.raises(ValueError, match="not those that this ImageFeatures was fitted with"):
        pickle.loads(text).transform(pictures)
    assert np.array_equal(pickle.loads(text).fit().transform(pictures), before)


def test_it_names_features_and_fills_tables_without_fit(tiny, pictures):
    pytest.importorskip("pandas")
    assert tiny("stem").get_feature_names_out()[-1] == "stem_7"
    assert tiny().set_output(transform="pandas").transform(pictures).columns[0] == "pool_0"


def test_weights_are_loaded_once_for_all_clones(tiny, monkeypatch):
    calls = []
    monkeypatch.setattr(
        sources, "read_weights", lambda *a, read=sources.read_weights: calls.append(a) or read(*a)
    )
    sources.clear_loaded()
    first = tiny().fit()
    clones = [clone(first) for _ in range(3)]
    threads = [threading.Thread(target=c.fit) for c in clones]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    tiny("stem").fit()
    assert len(calls) == 1


def test_a_search_over_layers_keeps_few_packed_weights(tiny, pictures):
    layers, alone = ["conv1", "block.conv", "block", "down", "avgpool", "fc"], []
    for layer in layers:
        sources.clear_loaded()
        one = tiny(layer)
        one.transform(pictures[:2])
        alone.append(one._load()._weights_on(one._device()).derived_bytes)
    features = tiny().fit()
    for layer in layers:
        features.set_params(layer=layer).transform(pictures[:2])
    derived = features._load()._weights_on(features._device())
    assert 0 < derived.derived_bytes <= sum(sorted(alone)[-3:])


def test_threads_may_share_a_transformer(tiny, pictures):
    features = tiny().fit()
    expected = features.transform(pictures)
    results = joblib.Parallel(4, backend="threading")(
        joblib.delayed(features.transform)(pictures) for _ in range(8)
    )
    assert all(np.array_equal(r, expected) for r in results)


@pytest.mark.parametrize("backend", ["loky"])
def test_processes_give_the_same(tiny, pictures, backend):
    y = np.arange(24) % 2
    pipe = make_pipeline(tiny(), LogisticRegression(max_iter=2000))
    one = cross_val_score(pipe, pictures, y, cv=3)
    with joblib.parallel_config(backend):
        two = cross_val_score(pipe, pictures, y, cv=3, n_jobs=2)
    assert np.array_equal(one, two)


def test_state_dicts_tags_and_random_weights(pictures, state, tiny):
    features = ImageFeatures(TINY, weights=state, preprocessing=RECIPE)
    assert np.array_equal(features.fit_transform(pictures), tiny().transform(pictures))
    random = ImageFeatures(TINY, weights="random", preprocessing=RECIPE).fit_transform(pictures)
    again = ImageFeatures(TINY, weights="random", preprocessing=RECIPE).fit_transform(pictures)
    assert np.array_equal(random, again)
    assert not np.allclose(random, features.transform(pictures))


def test_other_sizes_of_pictures(file, weights, pictures):
    larger = Preprocessing(resize=40, crop=(24, 32))
    maps = ImageFeatures(TINY, "stage1", weights=file, preprocessing=larger, pool=None)
    assert maps.fit_transform(pictures).shape == (24, 12, 16, 12)


def test_a_table_column_of_file_names(tiny, pictures, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pandas = pytest.importorskip("pandas")
    paths = [str(tmp_path / f"{k}.png") for k in range(4)]
    for path, picture in zip(paths, pictures):
        image.fromarray(picture).save(path)
    table = pandas.DataFrame({"path": paths, "age": [1.0, 2.0, 3.0, 4.0]})
    both = ColumnTransformer([("image", tiny(), ["path"]), ("rest", "passthrough", ["age"])])
    features = both.fit_transform(table)
    assert np.array_equal(features[:, :12], tiny().transform(pictures[:4]))
    assert both.get_feature_names_out()[0] == "image__pool_0"
    assert both.named_transformers_["image"].n_features_in_ == 1
    assert both.named_transformers_["image"].feature_names_in_.tolist() == ["path"]


def test_one_bad_file_among_many(tiny, pictures, tmp_path):
    image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    for path, picture in zip(paths, pictures):
        image.fromarray(picture).save(path)
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    with pytest.raises(ValueError, match=r"2\.png"):
        tiny().transform(paths)
    with pytest.warns(UserWarning, match=r"1 of 6 pictures .*2\.png"):
        features = tiny(on_error="nan", batch_size=4).transform(paths)
    assert np.isnan(features[2]).all()
    good = [0, 1, 3, 4, 5]
    assert np.array_equal(features[good], tiny().transform([pictures[k] for k in good]))
    paths[3].unlink()
    with pytest.warns(UserWarning, match=r"2 of 6 pictures"):
        again = tiny(on_error="nan", cache=tmp_path / "cache").transform(paths)
    assert np.array_equal(np.isnan(again[:, 0]), [0, 0, 1, 1, 0, 0])


def test_bfloat16_is_near(tiny, pictures):
    exact, near = tiny().transform(pictures), tiny(precision="bfloat16").transform(pictures)
    assert not np.array_equal(exact, near)
    np.testing.assert_allclose(near, exact, atol=0.02 * np.abs(exact).max())


def test_the_configured_precision_reaches_networks(tiny, file, pictures):
    """Where a transformer's own is None, as its device and threads."""
    options = {"weights": file, "preprocessing": RECIPE}
    calls = [
        lambda **own: tiny(**own).transform(pictures[:3]),
        lambda **own: RandomFeatures(TINY, preprocessing=RECIPE, **own).transform(pictures[:3]),
        lambda **own: ImageClassifier(TINY, **options, **own).decision_function(pictures[:3]),
        lambda **own: ImageClassifier(TINY, **options, crops=10, **own).predict_proba(pictures[:3]),
        lambda **own: ImageLocalizer(TINY, **options, **own).window_probabilities(pictures[:1])[0],
    ]
    for call in calls:
        exact, near = call(), call(precision="bfloat16")
        assert not np.array_equal(exact, near)
        with config_context(precision="bfloat16"):
            assert np.array_equal(call(), near)
            assert np.array_equal(call(precision="float32"), exact)
        assert np.array_equal(call(), exact)
    features = tiny()
    assert features.precision is None and "precision" not in repr(features)
    with config_context(precision="bfloat16"):
        rows = features.summary().rows
        assert clone(features).get_params()["precision"] is None
    assert any("bfloat16" in row.operation for row in rows)
    assert not any("bfloat16" in row.operation for row in features.summary().rows)


def test_the_cache_tells_configured_precisions_apart(tiny, pictures, count, tmp_path):
    features = tiny(cache=tmp_path)
    exact = features.transform(pictures)
    with config_context(precision="bfloat16"):
        near = features.transform(pictures)
    assert count() == 48 and not np.array_equal(exact, near)
    assert np.array_equal(tiny(cache=tmp_path, precision="bfloat16").transform(pictures), near)
    assert np.array_equal(tiny(cache=tmp_path, precision="float32").transform(pictures), exact)
    assert np.array_equal(features.transform(pictures), exact)
    assert count() == 48


def test_a_configuration_that_changes_meanwhile(tiny, pictures, tmp_path, monkeypatch):
    """A call computes and caches what was configured when it began."""
    exact = tiny().transform(pictures)
    run = Extractor.run

    def then_change(self, *args, **options):
        set_config(precision="bfloat16")
        return run(self, *args, **options)

    with config_context(precision="float32"):
        monkeypatch.setattr(Extractor, "run", then_change)
        assert np.array_equal(tiny(cache=tmp_path, batch_size=5).transform(pictures), exact)
    monkeypatch.undo()
    assert np.array_equal(tiny(cache=tmp_path).transform(pictures), exact)


def test_a_search_over_precisions(tiny, pictures):
    pipe = make_pipeline(tiny(), LogisticRegression(max_iter=1000))
    grid = {"imagefeatures__precision": [None, "float32", "bfloat16"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(pictures, np.arange(24) % 2)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == scores[1] and scores.min() > 0.7


def test_maps_fit_into_no_table(tiny, pictures):
    pandas = pytest.importorskip("pandas")
    message = r"pool=None gives features of shape \('n', 8, 8, 8\) for layer='stem', .* of pandas"
    maps = tiny("stem", pool=None)
    assert maps.transform(pictures[:2]).shape == (2, 8, 8, 8)
    with pytest.raises(ValueError, match=message):
        clone(maps).set_output(transform="pandas").transform(pictures[:2])
    with sklearn_config(transform_output="pandas"), pytest.raises(ValueError, match=message):
        maps.fit_transform(pictures[:2])
    vectors = tiny("pool", pool=None).set_output(transform="pandas").transform(pictures[:2])
    assert isinstance(vectors, pandas.DataFrame) and vectors.shape == (2, 12)


def test_progress(tiny, file, pictures, capsys):
    tiny().fit().transform(pictures)
    assert capsys.readouterr() == ("", "")
    tiny(verbose=1, batch_size=8).transform(pictures)
    assert "24/24" in capsys.readouterr().err
    options = {"preprocessing": RECIPE, "verbose": 1}
    for work in (
        ImageClassifier(TINY, file, **options).predict,
        ImageClassifier(TINY, file, crops=10, **options).predict,
        ImageLocalizer(TINY, weights=file, **options).predict,
        ImageLoader(TINY, file, **options).transform,
    ):
        work(pictures[:3])
        assert "3/3" in capsys.readouterr().err


def test_summary_tells_what_runs_for_a_layer(tiny):
    stem, all_of_it = tiny("stem").summary(), tiny("logits").summary(2)
    assert [row.layer for row in stem.rows][0] == "conv1" and len(stem.rows) < len(all_of_it.rows)
    assert all_of_it.batch == 2


GENERIC = (
    "check_estimator_cloneable",
    "check_estimator_repr", "check_get_params_invariance", "check_mixin_order",
    "check_no_attributes_set_in_init", "check_parameters_default_constructible",
    "check_set_params", "check_valid_tag_types",
)  # fmt: skip


@pytest.mark.parametrize("check", GENERIC)
@pytest.mark.parametrize("cls", [ImageFeatures, ImageClassifier, ImageLoader, ImageLocalizer])
def test_scikit_learn_accepts_it(cls, check):
    """Those of scikit-learn's checks that do not feed tables of numbers."""
    getattr(estimator_checks, check)(cls.__name__, cls())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer": "stage9"}, "layer='stage9' is no layer of tiny; choose one of"),
        ({"layer": []}, r"layer=\[\] must be a name, or a list of names"),
        ({"layer": None}, "layer=None must be"),
        ({"pool": "mean"}, "pool='mean' must be one of"),
        ({"pool": None, "layer": ["stem", "pool"]}, "keeps the shape of one layer"),
        ({"batch_size": 0}, "batch_size=0 must be a positive integer"),
        ({"n_threads": 0}, "n_threads=0 must be a positive integer or None"),
        ({"precision": "half"}, "precision='half' must be 'float32' or 'bfloat16', or None"),
        ({"on_error": "ignore"}, "on_error='ignore' must be"),
        ({"model": "resnet19"}, "no network is named 'resnet19'"),
        ({"model": 3}, "model=3 must be"),
        ({"model": "no.onnx", "weights": "default"}, "there is no file 'no.onnx'"),
        ({"preprocessing": "none"}, "preprocessing='none' must be a Preprocessing"),
        ({"preprocessing": "auto"}, "tiny does not tell how its pictures are prepared"),
        ({"device": "tpu"}, "device='tpu' is unknown"),
        ({"cache": 3}, "cache=3"),
    ],
    ids=str,
)
def test_messages(tiny, pictures, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tiny().set_params(**parameters).fit().transform(pictures)


def test_weights_of_another_network_are_refused(tiny, state, tmp_path, pictures):
    path = tmp_path / "other.npz"
    write_weights(path, {k: v for k, v in state.items() if not k.startswith("block")})
    with pytest.raises(ValueError, match=r"other\.npz: tiny needs 'block"):
        tiny(weights=path).fit()
    path.write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"other\.npz"):
        tiny(weights=path).fit()


# -- the cache -----------------------------------------------------------------------------------


@pytest.fixture
def count(monkeypatch):
    """How many pictures went through a network."""
    seen = []
    run = Extractor.run
    monkeypatch.setattr(
        Extractor, "run", lambda self, x, *a, **k: seen.append(len(x)) or run(self, x, *a, **k)
    )
    return lambda: sum(seen)


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_search_extracts_every_picture_once(tiny, pictures, count, tmp_path, kind):
    cache = tmp_path / "cache" if kind == "folder" else joblib.Memory(tmp_path, verbose=0)
    y = np.arange(24) % 2
    pipe = make_pipeline(tiny(cache=cache), LogisticRegression(max_iter=2000))
    grid = {"logisticregression__C": np.logspace(-3, 2, 12)}
    search = GridSearchCV(pipe, grid, cv=5, return_train_score=True).fit(pictures, y)
    assert count() == 24
    plain = GridSearchCV(
        make_pipeline(tiny(), LogisticRegression(max_iter=2000)),
        grid,
        cv=5,
        return_train_score=True,
    ).fit(pictures, y)
    for key in ("mean_test_score", "mean_train_score"):
        assert np.array_equal(search.cv_results_[key], plain.cv_results_[key])


def test_the_cache_tells_recipes_apart(tiny, pictures, count, tmp_path):
    cache = tmp_path / "cache"
    asked = [
        {}, {"layer": "stem"}, {"layer": ["stem", "pool"]}, {"layer": "stem", "pool": "max"},
        {"precision": "bfloat16"}, {"preprocessing": Preprocessing(resize=18, crop=16)},
        {"weights": "random"},
    ]  # fmt: skip
    seen = []
    for parameters in asked:
        before = count()
        tiny(cache=cache).set_params(**parameters).transform(pictures)
        seen.append(count() - before)
    assert seen == [24] * len(asked)
    for parameters in asked:
        features = tiny(cache=cache, n_threads=1, batch_size=3).set_params(**parameters)
        again, before = features.transform(pictures), count()
        assert np.array_equal(features.set_params(cache=None).transform(pictures), again)
        assert count() == before + 24
    assert count() == 2 * 24 * len(asked)


def test_equal_pictures_are_computed_once(tiny, pictures, count, tmp_path):
    many = [pictures[0], pictures[1], pictures[0].copy(), pictures[0]]
    features = tiny(cache=tmp_path).transform(many)
    assert count() == 2 and np.array_equal(features[[0, 0, 0]], features[[0, 2, 3]])


# -- the classifier ------------------------------------------------------------------------------


def test_the_head_classifies(file, weights, pictures):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE)
    logits = by_hand(weights, pictures, "fc")
    p = softmax(logits, axis=1)
    np.testing.assert_allclose(classifier.decision_function(pictures), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(pictures), p, rtol=1e-4, atol=1e-6)
    assert np.array_equal(classifier.predict(pictures), p.argmax(axis=1))
    top = classifier.predict_top(pictures, k=2)
    assert [t[0][0] for t in top] == p.argmax(axis=1).tolist()
    assert all(t[0][1] >= t[1][1] for t in top)
    assert classifier.fit(pictures).score(pictures, p.argmax(axis=1)) == 1.0
    assert classifier.classes_.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(
        pickle.loads(pickle.dumps(classifier)).predict(pictures), classifier.predict(pictures)
    )
    for k in (9, 2.5):
        with pytest.raises(ValueError, match=rf"k={k} must be an integer between 1 and 5"):
            classifier.predict_top(pictures, k)


@pytest.mark.parametrize("crops", [1, 10])
def test_pictures_that_cannot_be_read_have_no_class(file, pictures, crops):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE, crops=crops, on_error="nan")
    X = [b"no picture", pictures[0], b"neither"]
    with pytest.warns(UserWarning, match="2 of 3 pictures .* picture 0 .* picture 2"):
        p = classifier.predict_proba(X)
    assert np.isnan(p).all(axis=1).tolist() == [True, False, True]
    np.testing.assert_allclose(p[1].sum(), 1, rtol=1e-5)
    with pytest.warns(UserWarning):
        assert [len(top) for top in classifier.predict_top(X, k=2)] == [0, 2, 0]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"pictures \[0, 2\] have no"):
        classifier.predict(X)
    assert classifier.predict_proba([]).shape == (0, 5)
    squash = Preprocessing(resize=(16, 16), crop=None)
    if crops == 10:
        with pytest.raises(ValueError, match="crops=10 needs a Preprocessing with a crop"):
            classifier.set_params(preprocessing=squash).predict_proba(pictures)


def test_ten_crops_of_a_network_that_is_very_sure(state, pictures):
    """Probabilities below the smallest float32 have logarithms all the same."""
    sure = {k: v * (1e4 if k.startswith("fc") else 1) for k, v in state.items()}
    scores = ImageClassifier(TINY, sure, preprocessing=RECIPE, crops=10).decision_function(pictures)
    assert np.isfinite(scores).all() and scores.min() < -200


def test_ten_crops_are_averaged(file, pictures):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE)
    crops = np.concatenate([RECIPE.ten_crops(p) for p in pictures[:3]])
    whole = ImageFeatures(
        TINY,
        "logits",
        weights=file,
        preprocessing=Preprocessing(None, 16, mean=(0,) * 3, std=(1,) * 3),
    )
    (logits,) = classifier._load().run(
        crops,
        ("fc",),
        None,
        device=whole._device(),
        n_threads=1,
        memory="fast",
        precision="float32",
    )
    expected = softmax(logits, axis=1).reshape(3, 10, -1).mean(axis=1)
    ten = classifier.set_params(crops=10)
    np.testing.assert_allclose(ten.predict_proba(pictures[:3]), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(ten.decision_function(pictures[:3])), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="crops=3 must be 1 or 10"):
        classifier.set_params(crops=3).predict(pictures)


@pytest.mark.parametrize("crops", [1, 10])
def test_two_classes_are_scored_as_scikit_learn_does(pictures, crops):
    two = TINY.with_outputs(2)
    state = two.to_torchvision(random_weights(two.network(), seed=2))
    classifier = ImageClassifier(two, state, preprocessing=RECIPE, crops=crops)
    p, scores = classifier.predict_proba(pictures), classifier.decision_function(pictures)
    assert p.shape == (24, 2) and scores.shape == (24,)
    np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]), rtol=1e-3, atol=1e-5)
    assert np.array_equal(classifier.predict(pictures), scores > 0)
    assert 0 <= get_scorer("roc_auc")(classifier, pictures, np.arange(24) % 2) <= 1


def test_imagenet_has_names(pictures):
    classifier = ImageClassifier("squeezenet1_1", "random")
    assert classifier.classes_.tolist() == list(range(1000))  # random weights know no tench


def test_without_a_head_there_are_no_classes(tiny, state, pictures):
    body = {k: v for k, v in state.items() if not k.startswith("fc")}
    features = tiny(weights=body).fit_transform(pictures)
    assert np.array_equal(features, tiny().transform(pictures))
    with pytest.raises(ValueError, match="has no head with these weights"):
        ImageClassifier(TINY, body, preprocessing=RECIPE).predict(pictures)


# -- the localizer -------------------------------------------------------------------------------


def test_a_window_of_its_own_size_is_classified_as_the_picture(file, weights):
    rng = np.random.RandomState(3)
    picture = rng.randint(0, 256, (16, 16, 3), np.uint8)
    recipe = Preprocessing(16, 16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe, scales=(1.0,))
    (p,) = localizer.window_probabilities([picture])
    expected = ImageClassifier(TINY, file, preprocessing=recipe).predict_proba([picture])
    assert p.shape == (1, 1, 5)
    np.testing.assert_allclose(p[0], expected, rtol=1e-5)


def test_places_are_where_a_class_is(state, tmp_path):
    made = red_state(state)
    path = tmp_path / "red.npz"
    write_weights(path, made)
    picture = np.full((64, 96, 3), 128, np.uint8)
    picture[40:60, 10:30] = (255, 0, 0)
    recipe = Preprocessing(64, 16, mean=(0, 0, 0), std=(1, 1, 1))
    localizer = ImageLocalizer(TINY, [1], weights=path, preprocessing=recipe, scales=(1.0,))
    ((best, *_),) = localizer.fit().predict([picture])
    assert best.label == 1 and best.probability > 0.99
    assert best.overlap(Location(1, 1.0, 10, 40, 30, 60)) > 0.4
    assert best.right - best.left == 16 and best.bottom - best.top == 16
    (nothing,) = localizer.predict([np.full((64, 96, 3), 128, np.uint8)])
    assert nothing == []
    with pytest.raises(ValueError, match=r"classes=\['cat'\] are not among the 5"):
        ImageLocalizer(TINY, ["cat"], weights=path, preprocessing=recipe).fit()


def red_state(state):
    """Weights made by hand: class 1 is red, class 0 is everything else."""
    made = {k: np.zeros_like(v) for k, v in state.items()}
    made["conv1.weight"][0, 0, 1, 1], made["conv1.weight"][0, 1, 1, 1] = 1, -1  # red minus green
    made["block.conv.weight"][0, 0, 1, 1] = 1
    made["block.bn.running_var"][:] = 1
    made["block.bn.weight"][:] = 1
    made["fc.weight"][1, 0], made["fc.bias"][1] = 20, -12
    return made


@pytest.mark.parametrize("scale", [1.0, 1.4, 2.5])
@pytest.mark.parametrize(
    ("shape", "resize"), [((64, 99), 64), ((131, 64), 66), ((131, 64), (50, 70)), ((70, 81), None)]
)
def test_boxes_are_the_windows_that_the_network_saw(state, shape, resize, scale):
    """A window has the probabilities of its box cut out, for a network that looks at pixels."""
    recipe = Preprocessing(resize, 16, mean=(0, 0, 0), std=(1, 1, 1))
    made = red_state(state)
    localizer = ImageLocalizer(TINY, [1], weights=made, preprocessing=recipe, scales=(scale,))
    shorter = resize or 0 if not isinstance(resize, tuple) else min(resize)
    ratio = scale * (shorter / min(shape) if shorter else 1)
    picture = np.full((*shape, 3), 128, np.uint8)
    top, left = 24 / ratio, 32 / ratio  # of a window: multiples of the stride, 4
    side = 16 / ratio
    picture[round(top) : round(top + side), round(left) : round(left + side)] = (255, 0, 0)
    ((best, *_),) = localizer.predict([picture])
    found = best.top, best.left, best.bottom, best.right
    np.testing.assert_allclose(found, [top, left, top + side, left + side], atol=1.01)
    end = localizer.window_probabilities([picture], scale)[0].shape[0] - 1
    assert 4 * end + 16 <= shape[0] * ratio + 4


def test_places_on_pictures_of_a_pixel(file):
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, threshold=0.0)
    for place in localizer.predict([np.zeros((1, 1, 3), np.uint8)])[0]:
        assert (place.left, place.top, place.right, place.bottom) == (0, 0, 1, 1)


def test_pictures_smaller_than_the_network(file):
    recipe = Preprocessing(resize=12, crop=16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe)
    assert localizer.window_probabilities([np.zeros((9, 9, 3), np.uint8)])[0].shape == (1, 1, 5)


def test_messages_of_the_localizer(file):
    for parameters, message in (
        ({"scales": 2.0}, "scales=2.0 must be a tuple"),
        ({"scales": ()}, r"scales=\(\) must be a tuple"),
        ({"scales": (1.0, 0.5)}, "scale 0.5 must be a number of at least 1"),
        ({"threshold": 2}, "threshold=2 must be"),
        ({"classes": "cat"}, "classes='cat' must be a list of labels"),
    ):
        localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE)
        with pytest.raises(ValueError, match=message):
            localizer.set_params(**parameters).fit()
    with pytest.raises(ValueError, match="scale 'large' must be"):
        ImageLocalizer(TINY, weights=file, preprocessing=RECIPE).window_probabilities([], "large")


def test_pictures_of_many_sizes(file):
    """One size after another, twice: more than are kept."""
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, scales=(1.0,))
    pictures = [np.full((20, 20 + 2 * k, 3), 10 * k, np.uint8) for k in range(12)]
    first, again = (localizer.window_probabilities(pictures) for _ in range(2))
    assert [p.shape[1] for p in first] == [(10 + k) // 2 - 3 for k in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again))


def test_windows_of_pictures_that_cannot_be_read(file, capsys):
    recipe = Preprocessing(16, 16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe, scales=(1.0,), verbose=1)
    good = np.full((20, 24, 3), 90, np.uint8)
    X = [good, b"no picture", good]
    for call in (localizer.window_probabilities, localizer.predict):
        with pytest.raises(ValueError, match="picture"):
            call(X)
    localizer.set_params(on_error="nan", threshold=0.0)
    with pytest.warns(UserWarning, match="1 of 3 pictures"):
        first, unread, last = localizer.window_probabilities(X)
    assert unread.shape == (1, 1, 5) and unread.dtype == np.float32 and np.isnan(unread).all()
    (expected,) = localizer.window_probabilities([good])
    assert np.array_equal(first, expected) and np.array_equal(last, expected)
    with pytest.warns(UserWarning, match="1 of 3 pictures"):
        first, unread, last = localizer.predict(X)
    assert first == last and first and unread == []
    assert "3/3" in capsys.readouterr().err


def test_overlapping_places_of_a_class_become_one():
    a, b = Location("cat", 0.9, 0, 0, 10, 10), Location("cat", 0.8, 1, 1, 11, 11)
    c, d = Location("dog", 0.7, 0, 0, 10, 10), Location("cat", 0.6, 20, 20, 30, 30)
    assert suppress([d, b, c, a], 0.3) == [a, c, d]
    assert a.overlap(d) == 0 and a.overlap(a) == 1


# -- training further ----------------------------------------------------------------------------


def test_a_trunk_starts_from_its_weights_and_keeps_what_it_should(file, weights, pictures):
    X = ImageLoader(TINY, file, preprocessing=RECIPE).fit_transform(pictures)
    y = np.array(["left", "right"])[np.arange(24) % 2]
    layers = [("trunk", Pretrained(TINY, file, trainable_from="block.bn"))]
    net = NeuralNetClassifier(layers, max_epochs=3, optimizer=SGD(0.05), random_state=0).fit(X, y)
    kept = {k.removeprefix("trunk."): v for k, v in net.weights_.items() if k.startswith("trunk")}
    assert set(kept) == {k for k in weights if not k.startswith("fc")}
    changed = {k for k, v in kept.items() if not np.array_equal(v, weights[k])}
    assert changed == {f"block.bn.{k}" for k in ("gamma", "beta", "mean", "var")}
    frozen = NeuralNetClassifier([("trunk", Pretrained(TINY, file))], max_epochs=2).fit(X, y)
    assert all(np.array_equal(frozen.weights_[f"trunk.{k}"], weights[k]) for k in kept)
    clone(net).set_params(trunk__trainable_from="stem", max_epochs=1).fit(X, y)
    again = pickle.loads(pickle.dumps(net))
    assert np.array_equal(again.predict(X), net.predict(X))


def test_a_trained_trunk_needs_its_file_no_more(file, pictures, replaceable):
    path, _ = replaceable
    X = ImageLoader(TINY, path, preprocessing=RECIPE).fit_transform(pictures)
    y = np.arange(24) % 2
    net = NeuralNetClassifier(network(TINY, path, trainable_from="stage1"), max_epochs=1).fit(X, y)
    text, expected = pickle.dumps(net), net.predict_proba(X)
    path.unlink()
    sources.clear_loaded()
    assert np.array_equal(pickle.loads(text).predict_proba(X), expected)
    assert net.transform(X).shape == (24, 12)
    with pytest.raises(ValueError, match="no file of that name"):
        clone(net).fit(X, y)


def test_arrays_start_a_trunk_and_are_read_once(state, weights, pictures, monkeypatch):
    calls = []
    load = sources.KnownNetwork.load
    monkeypatch.setattr(
        sources.KnownNetwork, "load", lambda self, shape: calls.append(1) or load(self, shape)
    )
    X = ImageLoader(TINY, state, preprocessing=RECIPE).fit_transform(pictures)
    net = NeuralNetClassifier(network(TINY, state), max_epochs=1).fit(X, np.arange(24) % 2)
    assert len(calls) == 1
    assert np.array_equal(net.weights_["trunk.conv1.W"], weights["conv1.W"])


@pytest.mark.parametrize(
    ("part", "trained"),
    [
        ("stem", {"conv1", "block.conv", "block.bn"}),
        ("stage1", {"block.conv", "block.bn"}),
        ("block", {"block.conv", "block.bn"}),
        ("block.bn", {"block.bn"}),
    ],
)
def test_a_canonical_part_is_trained_from_its_first_layer(file, weights, pictures, part, trained):
    X = ImageLoader(TINY, file, preprocessing=RECIPE).fit_transform(pictures)
    layers = network(TINY, file, trainable_from=part)
    net = NeuralNetClassifier(layers, max_epochs=1, random_state=0).fit(X, np.arange(24) % 2)
    kept = {k.removeprefix("trunk."): v for k, v in net.weights_.items() if k.startswith("trunk")}
    changed = {k.rpartition(".")[0] for k, v in kept.items() if not np.array_equal(v, weights[k])}
    assert changed == trained


def test_parts_of_every_network_follow_one_another():
    for name, architecture in NETWORKS.items():
        loaded = sources.Loaded(
            name, architecture.layers, architecture.input_shape, {}, architecture.points, None
        )
        before = [len(loaded.before(word)) for word, _ in architecture.points]
        assert before[0] == 0 and before == sorted(before), name


def test_network_gives_layers_for_a_search(pictures, file):
    y = np.arange(24) % 2
    pipe = make_pipeline(
        ImageLoader(TINY, file, preprocessing=RECIPE),
        NeuralNetClassifier(network(TINY, file), max_epochs=40, random_state=0),
    )
    grid = {"neuralnetclassifier__trunk__layer": ["stem", "pool"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(pictures, y)
    assert search.best_score_ > 0.7


def test_messages_of_trunks(file):
    X, y = np.zeros((4, 16, 16, 3), np.float32), [0, 1, 0, 1]
    for parameters, message in (
        ({"layer": "top"}, "layer 'top' is not in tiny"),
        ({"trainable_from": "top"}, "'top' is no layer of tiny"),
        ({"trainable_from": "stage2"}, r"trains nothing of tiny: no layer from there to layer='po"),
        ({"trainable_from": "logits"}, r"Choose one of \['stem', 'stage1'\], or None to train the"),
        ({"trainable_from": "block", "layer": "conv1"}, r"to layer='conv1'.* one of \['stem'\]"),
        ({"model": "resnet19"}, "no network is named"),
    ):
        trunk = Pretrained(TINY, file).set_params(**parameters)
        with pytest.raises(ValueError, match=message):
            NeuralNetClassifier([("trunk", trunk)], max_epochs=1).fit(X, y)


def test_the_loader_gives_what_networks_take(pictures, tmp_path):
    loader = ImageLoader(preprocessing=RECIPE)
    X = loader.fit_transform(pictures)
    assert X.shape == (24, 16, 16, 3) and X.dtype == np.float32
    assert all(np.array_equal(x, RECIPE(p)) for x, p in zip(X, pictures))
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        X = ImageLoader(preprocessing=RECIPE, on_error="nan").transform([pictures[0], b"nothing"])
    assert np.isnan(X[1]).all() and np.array_equal(X[0], RECIPE(pictures[0]))
    assert ImageLoader("resnet50").fit()._recipe().crop == 224  # nothing is read or fetched


def test_names_of_the_network_itself():
    """Every point of every network is a layer of it."""
    for name, architecture in NETWORKS.items():
        points = dict(architecture.points)
        assert "pool" in points, name


def test_the_extractor_agrees_with_evaluation(tiny, weights, pictures):
    net = TINY.network()
    x = Tensor((2, 16, 16, 3), role="data")
    output, trace = net.trace(x, training=False)
    vectors = net.gather(weights)
    feeds = {x: np.stack([RECIPE(p) for p in pictures[:2]])}
    for leaf in trace.leaves.values():
        size = int(np.prod(leaf.shape))
        feeds[leaf] = vectors[leaf.role][leaf.offset : leaf.offset + size].reshape(leaf.shape)
    (expected,) = evaluate([output], feeds)
    np.testing.assert_allclose(
        tiny("logits").transform(pictures[:2]), expected, rtol=1e-4, atol=1e-5
    )

"""Pretrained networks as transformers, as a user of scikit-learn has them.

The network is a small one of known weights, so that the answers can be computed by hand.
"""

import pickle
import threading

import joblib
import numpy as np
import pytest
from sklearn import config_context as sklearn_config
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from tiny_network import RECIPE, TINY, by_hand

from skdeep.features import (
    ImageClassifier,
    ImageFeatures,
    ImageLoader,
    ImageLocalizer,
    Preprocessing,
    extraction,
    sources,
)
from skdeep.features.layer_table import layer_table
from skdeep.formats import write_weights
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor
from skdeep.layers import Conv2D, GlobalAveragePool2D, SqueezeExcite
from skdeep.layers.network import Network


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


def test_a_pickle_has_no_weights_and_knows_them_again(tiny, pictures, file, replaceable):
    path, replace = replaceable
    features = tiny(weights=path).fit(pictures)
    before = features.transform(pictures)
    text = pickle.dumps(features)
    assert len(text) < 10_000
    assert np.array_equal(pickle.loads(text).transform(pictures), before)
    replace()
    sources.clear_loaded()
    with pytest.raises(ValueError, match="not those that this ImageFeatures was fitted with"):
        pickle.loads(text).transform(pictures)
    assert pickle.loads(text).set_params(weights=file).transform(pictures).shape == before.shape


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


def test_half_of_a_batch_is_run_while_the_other_is_prepared(tiny, pictures, monkeypatch):
    features = tiny(n_threads=2, batch_size=16).fit()
    extractor, ran = features._load(), []
    real = extractor.run

    def run(x, *arguments, **options):
        ran.append(len(x))
        return real(x, *arguments, **options)

    monkeypatch.setattr(extractor, "run", run)
    many = (2 * pictures)[:40]
    once = features.transform(many)
    assert ran == [16, 16, 8]
    monkeypatch.setattr(extractor, "_widest", 2**22)  # a thread takes two pictures of such a size
    for least, expected in [(2**62, [16, 16, 8]), (0, [8] * 5)]:  # weights of a large network
        monkeypatch.setattr(extraction, "LARGE", least)
        ran.clear()
        assert np.array_equal(features.transform(many), once)
        assert ran == expected


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
        ({"layer": []}, r"layer=\[\] must be a name, or a list of different names"),
        ({"layer": ["pool", "pool"]}, r"\['pool', 'pool'\] must be a name, or a list of different"),
        ({"layer": [["pool"]]}, r"\[\['pool'\]\] must be a name, or a list of different names"),
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
        ({"device": "tpu"}, r"device='tpu' is unknown; choose one of \('cpu', 'cuda'\) or None"),
        ({"cache": 3}, "cache=3"),
    ],
    ids=str,
)
def test_messages(tiny, pictures, parameters, message):
    features = tiny().set_params(**parameters)
    for call in (features.fit, lambda: features.transform(pictures)):
        with pytest.raises(ValueError, match=message):
            call()


def test_weights_of_another_network_are_refused(tiny, state, tmp_path, pictures):
    path = tmp_path / "other.npz"
    write_weights(path, {k: v for k, v in state.items() if not k.startswith("block")})
    with pytest.raises(ValueError, match=r"other\.npz: tiny needs 'block"):
        tiny(weights=path).fit()
    path.write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"other\.npz"):
        tiny(weights=path).fit()


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


# ---- the cache -----------------------------------------------------------------------------------


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

"""PatchFeatures against loops over patches in float64, and as a step of pipelines."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from checks import assert_close, check_op
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdeep.features import PatchFeatures
from skdeep.graph import OPS

SHAPES = {1: (6, 8, 9, 1), 3: (5, 9, 7, 3), 5: (4, 7, 8, 5)}


def pictures(channels, seed=0):
    """Random levels, with a flat corner."""
    X = np.random.RandomState(seed).randint(0, 256, SHAPES[channels], np.uint8)
    X[:, :4, :4] = 200
    return X


def small(**changes):
    return PatchFeatures(**{"n_patches": 7, "patch_size": (3, 2), "random_state": 0} | changes)


# -- naive twins, float64 --------------------------------------------------------------------------


def naive_patches(X, size, stride, eps):
    """Normalised patches, [n][i][j], as lists of numbers."""
    X = np.asarray(X, np.float64)
    (kh, kw), (down, across), (h, w, c) = size, stride, X.shape[1:]
    found = []
    for picture in X:
        found.append([])
        for i in range(0, h - kh + 1, down):
            found[-1].append([])
            for j in range(0, w - kw + 1, across):
                x = [
                    picture[i + u, j + v, k] for u in range(kh) for v in range(kw) for k in range(c)
                ]
                mean = sum(x) / len(x)
                var = sum((v - mean) ** 2 for v in x) / len(x)
                found[-1][-1].append(np.array([(v - mean) / math.sqrt(var + eps) for v in x]))
    return found


def naive_triangle(z, words):
    distances = [math.sqrt(sum((a - b) ** 2 for a, b in zip(z, word))) for word in words]
    mean = sum(distances) / len(distances)
    return [max(0.0, mean - d) for d in distances]


def naive_soft(z, words, alpha):
    products = []
    for word in words:
        length = math.sqrt(sum(b * b for b in word)) or 1.0
        products.append(sum(a * b for a, b in zip(z, word)) / length)
    return [max(0.0, p - alpha) for p in products] + [max(0.0, -p - alpha) for p in products]


def naive_transform(features, X):
    """What a fitted PatchFeatures should give."""
    size, stride = features.patches_.shape[1:3], np.broadcast_to(features.stride, 2)
    eps = features.contrast_epsilon * features.contrast_
    words = np.asarray(features.components_, np.float64)
    rows = []
    for picture in naive_patches(X, size, stride, eps):
        codes = []
        for line in picture:
            codes.append([])
            for x in line:
                z = x
                if features.whiten:
                    z = (x - features.mean_) @ features.whitening_.astype(np.float64)
                triangle = features.encoding == "triangle"
                code = (
                    naive_triangle(z, words) if triangle else naive_soft(z, words, features.alpha)
                )
                codes[-1].append(code)
        rows.append(naive_regions(codes, features.pool, features.pooling))
    return np.array(rows)


def naive_regions(codes, grid, pooling):
    """Codes [i][j] added up over regions whose borders are the whole parts of exact fractions."""
    row = []
    for a in range(grid[0]):
        for b in range(grid[1]):
            ends = [
                [math.floor(Fraction(k * n, g)) for k in (at, at + 1)]
                for at, n, g in ((a, len(codes), grid[0]), (b, len(codes[0]), grid[1]))
            ]
            inside = [codes[i][j] for i in range(*ends[0]) for j in range(*ends[1])]
            total = [math.fsum(values) for values in zip(*inside)]
            row += [t / len(inside) if pooling == "mean" else t for t in total]
    return row


# -- operations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, 3, 1), (2, 5, 6, 3), (1, 9, 8, 17)])
@pytest.mark.parametrize("size", [(1, 2), (3, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_extract_patches(shape, size, stride):
    x = np.random.default_rng(0).normal(size=shape) + 3
    check_op(
        lambda t: OPS["ExtractPatches"](t, size=size, stride=stride, eps=0.25).output,
        [x],
        lambda x: np.array(naive_patches(x, size, stride, 0.25)),
        wrt=[],
        rtol=3e-6,
    )


@pytest.mark.parametrize("k", [1, 7, 16, 40])
@pytest.mark.parametrize(("grid", "mean"), [((1, 1), True), ((2, 3), False), ((5, 4), True)])
def test_pools(k, grid, mean):
    rng = np.random.default_rng(1)
    z, words = rng.normal(size=(3, 5, 4, 9)), rng.normal(size=(k, 9))
    pooling = "mean" if mean else "sum"

    def triangle(q, z):
        codes = [[[naive_triangle(p, words) for p in line] for line in image] for image in z]
        rows = [naive_regions(c, grid, pooling) for c in codes]
        return np.reshape(rows, (3, *grid, k))

    def soft(q):
        codes = [
            [
                [[max(0, v - 0.3) for v in p] + [max(0, -v - 0.3) for v in p] for p in line]
                for line in x
            ]
            for x in q
        ]
        return np.reshape([naive_regions(c, grid, pooling) for c in codes], (3, *grid, 2, k))

    z = z.astype(np.float32).astype(float)
    q = np.square(words).sum(axis=1) - 2 * z @ words.T
    pool = OPS["TrianglePool"]
    check_op(
        lambda q, z: pool(q, z, grid=grid, mean=mean).output, [q, z], triangle, wrt=[], rtol=5e-6
    )
    pool = OPS["SoftPool"]
    build = lambda q: pool(q, grid=grid, mean=mean, alpha=0.3).output  # noqa: E731
    check_op(build, [q], soft, wrt=[], rtol=2e-6)


# -- transform -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dictionary", ["kmeans", "patches"])
@pytest.mark.parametrize("encoding", ["triangle", "soft"])
@pytest.mark.parametrize("whiten", [True, False])
def test_transform_agrees_with_loops(channels, dictionary, encoding, whiten):
    X = pictures(channels)
    features = small(dictionary=dictionary, encoding=encoding, whiten=whiten, batch_size=2)
    got = features.fit(X).transform(X)
    assert got.dtype == np.float32
    assert_close(got, naive_transform(features, X), rtol=1e-4)
    assert got.any(axis=0).sum() > got.shape[1] // 2


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 2, "pool": (1, 2)},
        {"stride": (1, 3), "pool": (3, 1), "pooling": "sum"},
        {"patch_size": (8, 9), "pool": (1, 1), "n_patches": 3},
        {"epsilon": 1e-3, "contrast_epsilon": 1.0},
    ],
)
def test_geometry(changes):
    X = pictures(1)
    features = small(**changes).fit(X)
    assert_close(features.transform(X), naive_transform(features, X), rtol=2e-4)


def test_same_bits_for_any_number_of_threads():
    X = np.random.RandomState(0).randint(0, 256, (300, 16, 16, 3), np.uint8)
    one, two = (small(n_patches=60, n_threads=n, n_samples=5000).fit_transform(X) for n in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_size_of_batches_changes_nothing():
    X = pictures(3)
    assert np.array_equal(
        small(batch_size=1).fit_transform(X), small(batch_size=100).fit_transform(X)
    )


def test_bytes_and_shares_of_one_are_the_same_pictures():
    X = pictures(3)
    levels, shares = small().fit_transform(X), small().fit_transform(X / 255)
    np.testing.assert_allclose(levels, shares, rtol=1e-3, atol=1e-4)


def test_kinds_of_x():
    X = pictures(1)
    wanted = small().fit_transform(X)
    flat = X.reshape(len(X), -1)
    for same, shape in (
        (X[..., 0], None),
        (X.astype(np.float64), None),
        (list(X), None),
        (X.tolist(), None),
        (flat, (8, 9)),
        (flat, (8, 9, 1)),
        (flat, (-1, 9)),
        (flat[:, ::-1][:, ::-1], (8, 9)),
    ):
        assert np.array_equal(small(image_shape=shape).fit_transform(same), wanted)


# -- fit -------------------------------------------------------------------------------------------


def all_patches(features, X):
    eps = features.contrast_epsilon * features.contrast_
    nested = naive_patches(X, features.patches_.shape[1:3], (1, 1), eps)
    return np.array([x for picture in nested for line in picture for x in line])


@pytest.mark.parametrize("channels", [1, 5])
def test_statistics(channels):
    X = pictures(channels)
    features = small().fit(X)
    patches = all_patches(features, X)
    assert features.n_patches_seen_ == len(patches)
    raw = np.lib.stride_tricks.sliding_window_view(X.astype(float), (3, 2), axis=(1, 2))
    assert_close(np.float64(features.contrast_), raw.var(), rtol=1e-6)
    mean = patches.mean(axis=0)
    assert_close(features.mean_, mean, rtol=1e-5)
    covariance = sum(np.outer(x - mean, x - mean) for x in patches) / len(patches)
    w = features.whitening_.astype(np.float64)
    # w is symmetric, and its square is the inverse of the covariance plus epsilon
    assert_close(w, w.T, rtol=1e-5)
    product = w @ w @ (covariance + features.epsilon * np.eye(len(w)))
    np.testing.assert_allclose(product, np.eye(len(w)), atol=1e-4)


def test_centroids_are_the_means_of_their_patches():
    X = pictures(1)
    features = small(max_iter=500).fit(X)
    patches = all_patches(features, X)
    z = (patches - features.mean_) @ features.whitening_
    distances = np.array([[sum((a - b) ** 2) for b in features.components_] for a in z])
    owner = distances.argmin(axis=1)
    assert set(owner) == set(range(7))
    for k in range(7):
        mean = patches[owner == k].mean(axis=0)
        assert_close(features.patches_[k].ravel(), mean, rtol=1e-4)


def test_data_patches_are_patches():
    X = pictures(3)
    features = small(dictionary="patches").fit(X)
    patches = all_patches(features, X)
    for word in features.patches_.reshape(7, -1):
        assert np.abs(patches - word).max(axis=1).min() < 1e-4


def test_partial_fit_joins_statistics():
    X = pictures(3)
    whole, parts = small().fit(X), small()
    for part in (X[:2], X[2:3], X[3:]):
        parts.partial_fit(part)
    assert parts.n_patches_seen_ == whole.n_patches_seen_
    parts_scale = small(contrast_epsilon=0.0025 * parts.contrast_ / whole.contrast_).fit(X)
    np.testing.assert_allclose(parts.mean_, parts_scale.mean_, atol=1e-5)
    np.testing.assert_allclose(parts.whitening_, parts_scale.whitening_, atol=1e-3)


def test_partial_fit_moves_centroids_to_means_of_all_patches():
    """Of one word it must be the mean of everything."""
    X = pictures(3)
    features = small(n_patches=1)
    for part in (X[:2], X[2:]):
        features.partial_fit(part)
    np.testing.assert_allclose(
        features.patches_.ravel(), all_patches(features, X).mean(axis=0), atol=1e-5
    )


def test_partial_fit_keeps_a_fair_sample():
    """As many data patches of the second half as of the first, about."""
    rng = np.random.RandomState(0)
    dark = rng.randint(0, 256, (40, 6, 6)).astype(float)
    first, second = dark.copy(), dark.copy()
    first[:, ::2] += 1000  # stripes that tell where a patch comes from
    second[:, :, ::2] += 1000
    features = PatchFeatures(400, 2, dictionary="patches", random_state=0)
    features.partial_fit(first)
    words = features.patches_
    across = np.abs(words.mean(axis=2) - words.mean(axis=(1, 2))[:, None]).max(axis=(1, 2)) > 0.5
    assert across.all()
    words = features.partial_fit(second).patches_
    across = np.abs(words.mean(axis=2) - words.mean(axis=(1, 2))[:, None]).max(axis=(1, 2)) > 0.5
    assert 140 < across.sum() < 260


def test_random_state():
    X = pictures(3)
    a, b, c = (small(random_state=s).fit_transform(X) for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert np.array_equal(small(random_state=np.random.RandomState(1)).fit_transform(X), a)


def test_few_of_many_patches():
    X = pictures(3)
    features = small(n_samples=50).fit(X)
    assert features.n_patches_seen_ == 50
    assert features.transform(X).shape == (5, 28)


def test_flat_pictures():
    X = np.full((3, 6, 6), 7.0)
    got = small().fit_transform(X)
    assert not got.any()


# -- as an estimator -------------------------------------------------------------------------------


def tables():
    """Rows of any length as pictures of one row."""
    return [
        PatchFeatures(
            3, (1, 2), pool=(1, 1), image_shape=(1, -1), random_state=0, encoding=e, dictionary=d
        )
        for e in ("triangle", "soft")
        for d in ("kmeans", "patches")
    ]


@parametrize_with_checks(tables())
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_pickle_and_clone():
    X = pictures(3)
    features = small().fit(X)
    wanted = features.transform(X)
    pickled = pickle.dumps(features)
    assert len(pickled) < 20_000
    again = pickle.loads(pickled)
    assert np.array_equal(again.transform(X), wanted)
    more = [f.partial_fit(X[:3]).transform(X) for f in (features, again)]
    assert np.array_equal(*more)
    assert not hasattr(clone(features), "patches_")


def test_names_and_frames():
    pandas = pytest.importorskip("pandas", reason="frames are of pandas")
    X = pictures(1)
    features = small(n_patches=2, pool=(1, 2)).set_output(transform="pandas")
    frame = features.fit_transform(X)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["patch0_0_0", "patch1_0_0", "patch0_0_1", "patch1_0_1"]
    names = small(n_patches=2, pool=(1, 1), encoding="soft").fit(X).get_feature_names_out()
    assert list(names) == ["patch0+_0_0", "patch1+_0_0", "patch0-_0_0", "patch1-_0_0"]


def test_digits_with_few_examples(few_shot):
    """10 of each class: 0.942 with patches, 0.895 with raw pixels, over five draws."""
    raw, patches = few_shot(PatchFeatures(60, 4, image_shape=(8, 8), random_state=0))
    assert patches > raw + 0.03


def test_grid_search():
    X, y = load_digits(return_X_y=True)
    model = make_pipeline(
        PatchFeatures(20, 3, image_shape=(8, 8), random_state=0), LogisticRegression(max_iter=500)
    )
    grid = {"patchfeatures__patch_size": [1, 4], "patchfeatures__encoding": ["triangle", "soft"]}
    search = GridSearchCV(model, grid, cv=2).fit(X[:300], y[:300])
    assert search.best_params_["patchfeatures__patch_size"] == 4
    assert search.best_score_ > 0.9


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_patches": 0}, "n_patches=0 must be a positive integer"),
        ({"patch_size": 2.5}, "patch_size=2.5 must be a positive integer or a pair"),
        ({"dictionary": "som"}, "dictionary='som' must be one of 'kmeans', 'patches'"),
        ({"encoding": "hard"}, "encoding='hard' must be one of"),
        ({"alpha": -1}, "alpha=-1 must be a number that is not negative"),
        ({"epsilon": 0}, "epsilon=0 must be a positive number"),
        ({"pool": (0, 1)}, "pool="),
        ({"patch_size": 10}, "patches of 10 x 10 pixels do not fit into pictures of 8 x 9"),
        ({"pool": (7, 1)}, "regions need as many places for patches, but there are 6 x 8"),
        ({"n_patches": 2000}, "n_patches=2000 needs as many patches, .* give 288"),
        ({"n_samples": 5}, "n_samples=5 .* give 5"),
        ({"image_shape": (8, 10)}, "image_shape=.* does not fit X"),
        ({"image_shape": (72,)}, r"needs pictures \(h, w\) or \(h, w, c\)"),
        ({"n_threads": 0}, "n_threads=0 must be a positive integer or None"),
    ],
)
def test_bad_parameters(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes).fit(pictures(1))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((3, 64)), r"got rows of 64 numbers; pass image_shape=\(h, w, c\)"),
        ([np.zeros((8, 8)), np.zeros((9, 8))], "needs pictures of one size, .* ImageLoader"),
        (["a.png", "b.png"], "takes arrays of pictures, not 'a.png'.* ImageLoader"),
        (np.full((3, 8, 8), np.nan), "NaN"),
        (np.full((3, 8, 8), 1e200) * np.arange(8), "too large for float32"),
        (np.zeros((0, 8, 8)), "0 sample"),
        (np.zeros((2, 8, 8, 1, 1)), "needs pictures"),
        (np.zeros((2, 8, 8), complex), "Complex data not supported"),
    ],
)
def test_bad_pictures(X, words):
    with pytest.raises(ValueError, match=words):
        small().fit(X)


def test_other_pictures_than_those_of_fit():
    features = small().fit(pictures(1))
    with pytest.raises(ValueError, match="features"):
        features.transform(pictures(3))
    with pytest.raises(ValueError, match=r"fitted on pictures of shape \(8, 9, 1\), got \(9, 8"):
        features.transform(np.zeros((2, 9, 8)))
    with pytest.raises(ValueError, match="features"):
        features.partial_fit(pictures(5))


def test_bars(capsys):
    small(verbose=1).fit_transform(pictures(1))
    assert "6" in capsys.readouterr().err
    small().fit_transform(pictures(1))
    assert not capsys.readouterr().err

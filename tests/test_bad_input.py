"""What cannot work is refused with scikit-learn's error classes and a message that helps.

And what only looks bad must work: arrays that end where readable memory ends.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

import skdeep
from skdeep import NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import Conv2D, Dense, MaxPool2D
from skdeep.training import Adam, EarlyStopping, LogLoss

X = np.random.RandomState(0).randn(20, 4)
Y = np.arange(20) % 3
KINDS = [NeuralNetClassifier, NeuralNetRegressor]


def net(kind=NeuralNetClassifier, **parameters):
    return kind(**{"layers": [Dense(3)], "max_epochs": 1, "random_state": 0} | parameters)


def broken(where, value):
    array = X.copy()
    array[where] = value
    return array


BAD_X = [
    (broken((3, 1), np.nan), "Input X contains NaN"),
    (broken((3, 1), np.inf), "Input X contains infinity"),
    (broken((3, 1), -np.inf), "Input X contains infinity"),
    (np.empty((0, 4)), r"0 sample\(s\)"),
    (np.empty((20, 0)), r"0 feature\(s\)"),
    (X[:, 0], "Expected 2D array, got 1D array instead"),
    (X.astype(complex), "Complex data not supported"),
    (np.full((20, 4), "a"), "could not convert string to float"),
    ([[1.0, 2.0], [3.0]], "inhomogeneous"),
    (sparse.csr_array(broken((3, 1), np.nan)), "Input X contains NaN"),
    (X[:19], r"inconsistent numbers of samples: \[19, 20\]"),
    (pd.DataFrame(X).astype(object).replace(X[0, 0], "text"), "could not convert"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad,message", BAD_X, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_x(bad, message, kind):
    with pytest.raises(ValueError, match=message):
        net(kind).fit(bad, Y)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_numbers_too_large_for_float32():
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        net().fit(broken((0, 0), 1e300), Y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["predict", "transform", "predict_proba", "decision_function"])
def test_bad_x_after_fit(kind, method):
    if not hasattr(kind, method):
        return
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(net(kind), method)(X)
    call = getattr(net(kind).fit(X, Y), method)
    for bad, message in (
        (X[:, :3], "X has 3 features, but .* is expecting 4 features"),
        (X[0], "Reshape your data"),
        (broken((0, 0), np.nan), "NaN"),
        (X[:0], r"0 sample\(s\)"),
        (X.reshape(20, 2, 2, 1)[:, :, :1], "X has 2 features"),
    ):
        with pytest.raises(ValueError, match=message):
            call(bad)


BAD_Y = [
    (Y[:19], "inconsistent numbers of samples"),
    (None, "requires y to be passed, but the target y is None"),
    (np.where(Y == 1, np.nan, Y), "Input y contains NaN"),
    (np.where(Y == 1, np.inf, Y), "Input y contains infinity"),
    (np.zeros((20, 2, 2)), "dim|multi"),
    (np.array([]), "0 sample|Unknown label type|inconsistent"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("y,message", BAD_Y, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_y(y, message, kind):
    with pytest.raises(ValueError, match=message):
        net(kind).fit(X, y)


def test_y_of_the_wrong_kind():
    with pytest.raises(ValueError, match="Unknown label type"):
        net().fit(X, X[:, 0])
    with pytest.raises(TypeError, match="Sparse data was passed for y"):
        net(NeuralNetRegressor).fit(X, sparse.csr_array(X))
    with pytest.raises(ValueError, match="could not convert string to float"):
        net(NeuralNetRegressor).fit(X, np.array(["a", "b"])[Y % 2])
    with pytest.raises(TypeError):
        net(NeuralNetRegressor).fit(X, 3.0)


def test_labels_that_fit_did_not_see():
    fitted = net().partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"labels that fit did not see: \[7\].*Pass classes="):
        fitted.partial_fit(X, np.where(Y == 1, 7, Y))
    with pytest.raises(ValueError, match="labels that fit did not see"):
        fitted.partial_fit(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(ValueError, match="labels that fit did not see"):
        net().fit(X, Y, X_val=X, y_val=Y + 1)
    with pytest.raises(ValueError, match="columns"):
        net(NeuralNetRegressor).partial_fit(X, X[:, :2]).partial_fit(X, X)


def test_one_sample_and_one_class():
    one = net(NeuralNetRegressor).fit(X[:1], Y[:1])
    assert one.predict(X[:1]).shape == (1,)
    same = net().fit(X, np.full(20, "only"))
    assert set(same.predict(X)) == {"only"}
    np.testing.assert_array_equal(same.predict_proba(X), np.ones((20, 1)))
    with pytest.raises(ValueError, match="n_samples=1"):
        net(early_stopping=True).fit(X[:1], Y[:1])


BAD_WEIGHTS = [
    (-np.ones(20), "[Nn]egative"),
    (np.zeros(20), "positive number|non-zero"),
    (np.ones(19), r"sample_weight.shape == \(19,\)"),
    (np.full(20, np.nan), "NaN"),
    (np.ones((20, 2)), "1D"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "weight,message", BAD_WEIGHTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_weights(weight, message, kind):
    with pytest.raises(ValueError, match=message):
        net(kind).fit(X, Y, sample_weight=weight)
    with pytest.raises(ValueError, match=message):
        net(kind).partial_fit(X, Y, sample_weight=weight)
    with pytest.raises(ValueError, match=message):
        net(kind).fit(X, Y, X_val=X, y_val=Y, sample_weight_val=weight)


def test_bad_validation_data():
    with pytest.raises(ValueError, match="X_val was passed without y_val"):
        net().fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="y_val was passed without X_val"):
        net().fit(X, Y, y_val=Y)
    with pytest.raises(ValueError, match="3 features"):
        net().fit(X, Y, X_val=X[:, :3], y_val=Y)
    with pytest.raises(ValueError, match="inconsistent"):
        net().fit(X, Y, X_val=X[:5], y_val=Y)


def test_bad_class_weights():
    with pytest.raises(ValueError, match="not in class_weight"):
        net(class_weight={7: 1.0}).fit(X, Y)
    with pytest.raises(ValueError, match="leave no sample with a positive weight"):
        net(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, Y)
    with pytest.raises(ValueError, match="leave no sample with a positive weight"):
        net(class_weight={0: 0.0}).fit(X, Y, sample_weight=Y == 0)
    with pytest.raises(ValueError, match="balanced"):
        net(class_weight="even").fit(X, Y)
    with pytest.raises(ValueError, match="pass sample_weight instead"):
        net(class_weight={0: 2.0}).fit(X, np.stack([Y, Y[::-1]], axis=1))
    with pytest.raises(ValueError, match="pass sample_weight instead"):
        net(class_weight="balanced").fit(X, (np.stack([Y, Y[::-1]], axis=1) > 0).astype(int))


BAD_PARAMETERS = [
    ({"max_epochs": 0}, "max_epochs=0 must be a positive integer"),
    ({"max_epochs": 2.5}, "max_epochs=2.5 must be a positive integer"),
    ({"max_epochs": None}, "max_epochs=None must be a positive integer"),
    ({"batch_size": 0}, "batch_size=0 must be a positive integer or 'auto'"),
    ({"batch_size": "all"}, "batch_size='all' must be a positive integer or 'auto'"),
    ({"validation_fraction": 1.0}, "validation_fraction=1.0 must be between 0 and 1"),
    ({"n_iter_no_change": 0}, "n_iter_no_change=0 must be a positive integer"),
    ({"n_threads": 0}, "n_threads=0 must be a positive integer or None"),
    ({"n_threads": -1}, "n_threads=-1 must be a positive integer or None"),
    ({"device": "gpu"}, r"device='gpu' is unknown; choose one of \('cpu', 'cuda'\) or None"),
    ({"loss": "hinge"}, "Unknown loss 'hinge'; choose 'auto', one of"),
    ({"loss": LogLoss}, "pass an instance of a subclass of Loss"),
    ({"loss": 3}, "pass an instance of a subclass of Loss"),
    ({"optimizer": "adam"}, "must be an optimizer object such as Adam"),
    ({"optimizer": Adam}, "must be an optimizer object such as Adam"),
    ({"callbacks": EarlyStopping()}, "must be a list of callbacks or None"),
    ({"output_layer": "dense9"}, "output_layer='dense9' is no layer of this network; choose one"),
    ({"layers": [Dense(3, "relo")]}, "Unknown activation 'relo'; choose one of"),
    ({"layers": [Dense(3, weight_init="xavier")]}, "Unknown initializer 'xavier'; choose 'auto'"),
    ({"layers": [("a", Dense(2)), ("a", Dense(3))]}, "layer name 'a' occurs more than once"),
    ({"layers": [("dense1", Dense(2)), Dense(3)]}, "layer name 'dense1' occurs more than once"),
    ({"layers": [("a__b", Dense(2))]}, "layer name 'a__b' must not be empty nor contain"),
    ({"layers": [("a.b", Dense(2))]}, "layer name 'a.b' must not be empty nor contain"),
    ({"layers": [("", Dense(2))]}, "must not be empty"),
    ({"layers": [("loss", Dense(2))]}, "'loss' is taken by a parameter of NeuralNet"),
    ({"layers": [("head", Dense(2))]}, "'head' is taken by a parameter of NeuralNet"),
    ({"layers": [], "head": None}, "the network has no layer"),
    ({"layers": [Dense(7)], "head": None}, r"the last layer 'dense1' gives \(7,\) per sample"),
    ({"head": Dense(50)}, "leave head='auto'"),
    ({"layers": [Conv2D(2, 3)]}, r"Conv2D 'conv2d1' needs \(n, h, w, c\) input, got \(n, 4\)"),
    ({"layers": [MaxPool2D()]}, r"MaxPool2D 'maxpool2d1' needs \(n, h, w, c\) input"),
    ({"layers": [Conv2D(2, 3)], "input_shape": (2, 2, 1)}, "conv"),
    ({"layers": [MaxPool2D(3)], "input_shape": (2, 2, 1)}, "pool"),
    ({"input_shape": (3, 3, 1)}, r"input_shape=\(3, 3, 1\) does not fit X: one sample has 4 feat"),
    ({"input_shape": (-1, 3, 1)}, r"input_shape=\(-1, 3, 1\) does not fit X"),
    ({"input_shape": (-1, -1)}, "may have one -1 only"),
    ({"input_shape": (0, 4)}, "must be a tuple of positive integers"),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters,message", BAD_PARAMETERS, ids=lambda v: str(v)[:40])
def test_bad_parameters(parameters, message, kind):
    estimator = net(kind, **parameters)
    repr(estimator)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)


@pytest.mark.parametrize("layers", [[Dense], [("a", Dense)], ["dense"], [3], [Dense(2), object()]])
def test_what_is_no_layer(layers):
    estimator = net(layers=layers)
    assert estimator.get_params()["layers"] is layers
    repr(estimator)
    with pytest.raises(TypeError, match="Did you pass a class instead of an instance"):
        estimator.fit(X, Y)


def test_layers_that_are_no_list():
    with pytest.raises(ValueError, match="must be a list of layers, or None"):
        net(layers=Dense(3)).fit(X, Y)


def test_unknown_parameters():
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
        NeuralNetClassifier(hidden=3)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
        net().set_params(hidden=3)
    with pytest.raises(ValueError, match="Invalid parameter 'size'"):
        net().set_params(dense1__size=3)


def test_output_layer_is_checked_when_it_is_used():
    fitted = net().fit(X, Y).set_params(output_layer="nowhere")
    with pytest.raises(ValueError, match=r"choose one of \['dense1', 'head'\]"):
        fitted.transform(X)


def test_weights_of_the_wrong_shape_or_name():
    fitted = net().fit(X, Y)
    with pytest.raises(ValueError, match="weight 'dense1.b' is missing"):
        fitted.set_weights({"dense1.W": fitted.weights_["dense1.W"]})
    bad = {**fitted.weights_, "dense1.b": np.zeros(9)}
    with pytest.raises(ValueError, match=r"'dense1.b' has shape \(9,\), expected \(3,\)"):
        fitted.set_weights(bad)
    assert np.isfinite(fitted.decision_function(X)).all()


def test_bad_configuration(monkeypatch):
    with pytest.raises(ValueError, match="device='tpu' is unknown"):
        skdeep.set_config(device="tpu")
    with pytest.raises(ValueError, match="n_threads=-2 must be a non-negative integer"):
        skdeep.set_config(n_threads=-2)
    with pytest.raises(AttributeError, match="module 'skdeep' has no attribute 'nothing'"):
        skdeep.nothing  # noqa: B018


def test_a_wrong_device_in_the_environment(run_python):
    run_python(
        "from skdeep import NeuralNetClassifier\n"
        "try:\n"
        "    NeuralNetClassifier(max_epochs=1).fit([[0.0], [1.0]], [0, 1])\n"
        "except ValueError as error:\n"
        "    assert \"device='npu' is unknown\" in str(error), error\n"
        "else:\n"
        "    raise SystemExit('no error')\n",
        SKDEEP_DEVICE="npu",
    )


AT_THE_EDGE = """
import ctypes, mmap, warnings
import numpy as np
from scipy import sparse
from skdeep import MLPClassifier, NeuralNetClassifier, NeuralNetRegressor
from skdeep.layers import Conv2D, Dense

warnings.simplefilter("ignore")  # two epochs do not converge
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
kept = []

def at_edge(array):
    "A copy whose last byte is the last one before memory that must not be touched."
    array = np.ascontiguousarray(array)
    pages = -(-array.nbytes // PAGE) + 1
    memory = mmap.mmap(-1, pages * PAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = whole.ctypes.data + (pages - 1) * PAGE
    assert libc.mprotect(ctypes.c_void_p(start), PAGE, 0) == 0
    kept.append(memory)
    end = (pages - 1) * PAGE
    copy = whole[end - array.nbytes : end].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy

rng = np.random.RandomState(0)
for n, columns in ((64, 64), (50, 7), (33, 1), (5, 129)):
    X = rng.randn(n, columns).astype(np.float32)
    y = np.arange(n) % 3
    w = at_edge(np.ones(n, np.float32))
    for layers, shape in (
        ([Dense(5)], None), ([Conv2D(3, (3, 1), padding="same")], (-1, 1, 1)), ([Dense(16)], None)
    ):
        for rows in (at_edge(X), sparse.csr_array(X)):
            if sparse.issparse(rows):
                rows.data, rows.indices = at_edge(rows.data), at_edge(rows.indices)
                rows.indptr = at_edge(rows.indptr)
            net = NeuralNetClassifier(layers, input_shape=shape, max_epochs=2, random_state=0)
            net.fit(rows, y, sample_weight=w, X_val=rows, y_val=y, sample_weight_val=w)
            net.predict(rows)
            other = NeuralNetRegressor(layers, input_shape=shape, max_epochs=2, random_state=0)
            other.fit(rows, at_edge(X[:, 0]), sample_weight=w).predict(rows)
            other.transform(rows)
        MLPClassifier((5,), max_iter=2).fit(rows, y).predict(rows)
print("done")
"""


def test_nothing_is_read_behind_the_end_of_users_arrays(run_python):
    assert run_python(AT_THE_EDGE) == "done\n"

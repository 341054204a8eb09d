"""ONNX operators on the cases that the onnx package tests its own back ends with."""

import functools
import warnings

import numpy as np
import pytest

from skdeep.features.axes import Value
from skdeep.features.onnx_constants import CONSTANTS
from skdeep.features.onnx_network import translate
from skdeep.features.onnx_operators import OPERATORS
from skdeep.features.steps import run_step
from skdeep.formats.onnx import read
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor

onnx = pytest.importorskip("onnx", reason="the cases come with the onnx package")

# Operators any of whose inputs may depend on a picture; of the others the first may.
SYMMETRIC = {"Add", "Concat", "Div", "MatMul", "Max", "Mean", "Min", "Mul", "Sub", "Sum"}
EMPTY = "tensors without elements are refused"
SPATIAL = "pooling over three axes"
DILATED = "windows with holes in pooling; dilated convolutions are there"
MASK = "outputs that only training has a use for"
TRAINING = "training mode"
EXPONENTS = "exponents that differ from element to element; of constants they are computed"
# Cases that are refused, by the begin of their names ($: the whole name), and why.
REFUSED = {
    "test_averagepool_2d_dilations": DILATED,
    "test_averagepool_3d": SPATIAL,
    "test_batchnorm_epsilon_training_mode": TRAINING,
    "test_batchnorm_example_training_mode": TRAINING,
    "test_dropout_default_mask": MASK,
    "test_maxpool_2d_dilations": DILATED,
    "test_maxpool_3d": SPATIAL,
    "test_maxpool_with_argmax": MASK,
    "test_not_": "operators of version 1",
    "test_pow$": EXPONENTS,
    "test_pow_bcast_array": EXPONENTS,
    "test_pow_example": EXPONENTS,
    "test_pow_types_float32": EXPONENTS,
    "test_reduce_max_empty_set": EMPTY,
    "test_reduce_min_empty_set": EMPTY,
    "test_resize_tf_crop_and_resize": "crops, which no exporter of classifiers writes",
    "test_slice_start_out_of_bounds": EMPTY,
    "test_training_dropout": TRAINING,
}
# Cases of which nothing can be asked: no input is float32, and the operator is for activations.
NOT_ASKED = {
    "test_clip_default_int8": "integers",
    "test_identity_opt": "optional values",
    "test_identity_sequence": "sequences",
    "test_maxpool_2d_uint8": "integers",
    "test_reduce_l2_empty_set": EMPTY,
}
# Numbers of four, six or eight bits and other rarities: files that hold them are refused.
RARE_TYPES = "FLOAT8", "FLOAT4", "FLOAT6", "INT4", "INT2", "BFLOAT16", "STRING"
# Expected results that are written down with four digits.
ROUGH = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}


@functools.cache
def all_cases():
    """The cases of single operators, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of inputs chosen to overflow
        cases = collect_testcases(None)
    found = {}
    for case in cases:
        nodes = case.model.graph.node if case.model is not None else []
        if len(nodes) == 1 and nodes[0].domain in ("", "ai.onnx"):
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def value_of(t, value, tensor):
    """A computed tensor (n, ...) as the graph sees it: an array for every sample."""
    tensor = tensor.reshape(-1, *(a.size for a in value.stored))
    atoms = [a for axis in value.axes for a in axis]
    tensor = tensor.transpose([0, *(1 + value.stored.index(a) for a in atoms)])
    return tensor.reshape(-1, *value.shape)


def compute(file, fixed, fed, orders):
    """Outputs of a graph: those of two samples for what depends on ``fed``, else arrays."""
    inputs = {}
    for name, array in fed.items():
        inputs[name] = (array.shape, orders(array.ndim))
    t = translate(file.graph, {**file.tensors, **fixed}, inputs)
    values, feeds = {}, {}
    for name, array in fed.items():
        order = inputs[name][1]
        other = np.random.default_rng(0).permutation(array.ravel()).reshape(array.shape)
        both = np.stack([other, array]).transpose([0, *(1 + k for k in order)])
        name = t.values[name].name
        shape = t.shape(name)
        values[name] = Tensor((2 * shape[0], *shape[1:]), role="data")
        feeds[values[name]] = both.reshape(values[name].shape)
    for name, array in t.weights.items():
        values[name] = Tensor(array.shape, role="parameter")
        feeds[values[name]] = array
    for step in t.steps:
        values[step.output] = run_step(step, values, 2)
    wanted = [t.values[name] for name in file.graph.outputs]
    tensors = {v.name: values[v.name] for v in wanted if isinstance(v, Value)}
    read_ones = [t for t in tensors.values() if t.op is not None]
    found = dict(zip(map(id, read_ones), evaluate(read_ones, feeds) if read_ones else []))
    results = []
    for v in wanted:
        if isinstance(v, Value):
            tensor = tensors[v.name]
            array = found.get(id(tensor), feeds.get(tensor))
            v = value_of(t, v, np.asarray(array))[1]
        results.append(np.asarray(v))
    return results


def plain(ndim):
    return tuple(range(ndim))


def channels_last(ndim):
    return (0, *range(2, ndim), 1) if ndim > 2 else plain(ndim)


def choices(op, arrays):
    """Names of inputs that are fed, for every way of asking."""
    floats = [name for name, a in arrays.items() if a.dtype == np.float32 and 0 not in a.shape]
    if op in OPERATORS and op in SYMMETRIC:
        yield from ([name] for name in floats)
        if len(floats) > 1:
            yield floats
    elif op == "Where":
        if len(floats) == 2:
            yield floats
    elif op in OPERATORS and floats and floats[0] == next(iter(arrays)):
        yield floats[:1]
    if op in CONSTANTS:
        yield []


def as_array(value):
    """An array; some cases hold messages."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value)


def assert_close(mine, theirs, rtol):
    """Equality, of floats up to what their type and a sum of float32 can do."""
    atol = 0
    if theirs.dtype.kind == "f":
        finite = np.abs(theirs[np.isfinite(theirs)].astype(np.float64))
        rtol = max(rtol, np.finfo(theirs.dtype).eps)
        atol = max(1e-6, rtol / 5 * finite.max(initial=0.0))
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)


def check(case, file):
    """Number of ways in which the case was computed."""
    names = [i.name for i in case.model.graph.input]
    done = 0
    for inputs, outputs in case.data_sets:
        if any(isinstance(a, list) or a is None for a in (*inputs, *outputs)):
            continue
        arrays = {name: as_array(a) for name, a in zip(names, inputs)}
        outputs = [as_array(a) for a in outputs]
        for fed in choices(case.model.graph.node[0].op_type, arrays):
            for orders in {plain, channels_last} if fed else {plain}:
                fixed = {name: a for name, a in arrays.items() if name not in fed}
                got = compute(file, fixed, {n: arrays[n] for n in fed}, orders)
                for mine, theirs in zip(got, outputs, strict=True):
                    assert mine.shape == theirs.shape
                    assert fed or mine.dtype == theirs.dtype
                    assert_close(mine, theirs, ROUGH.get(case.name, 1e-5))
                done += 1
    return done


@pytest.mark.parametrize("op", sorted(OPERATORS.keys() | CONSTANTS.keys()))
def test_cases_of_the_onnx_package(op, tmp_path):
    done = 0
    for case in all_cases().get(op, ()):
        path = tmp_path / f"{case.name}.onnx"
        path.write_bytes(case.model.SerializeToString())
        if listed(case, NOT_ASKED) or (op == "Cast" and any(t in case.name for t in RARE_TYPES)):
            continue
        if listed(case, REFUSED):
            with pytest.raises(ValueError):
                check(case, read(path))
        else:
            ways = check(case, read(path))
            assert ways, f"nothing was computed of {case.name}"
            done += ways
    assert done or op == "Not"


def listed(case, names):
    """Whether a case is in a table."""
    return any(f"{case.name}$".startswith(name) for name in names)


@pytest.mark.parametrize("name", sorted({**REFUSED, **NOT_ASKED, **ROUGH}))
def test_tables_name_cases_that_there_are(name):
    assert any(listed(case, [name]) for cases in all_cases().values() for case in cases)

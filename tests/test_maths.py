"""Elementary functions against float64 over all exponents, formulas against scalar twins."""

from inspect import isfunction

import numpy as np
import pytest
from checks import leaf
from scipy import special

from skdeep import ops
from skdeep.graph.program import evaluate
from skdeep.kernels import activation, arithmetic, elementwise
from skdeep.kernels.arithmetic import BROADCASTS
from skdeep.kernels.maths import SCALAR, SIMD, bind
from skdeep.ops.arithmetic import Binary
from skdeep.ops.elementwise import Map

MAPS = {**elementwise.MAPS, **activation.MAPS, **arithmetic.MAPS}

# name: (float64 function, largest error in ulp)
FUNCTIONS = {
    "exp": (np.exp, 1.1),
    "expm1": (np.expm1, 1.6),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 1.5),
    "tanh": (np.tanh, 2.6),
    "erf": (special.erf, 1.1),
    "sigmoid": (special.expit, 2.5),
    "softplus": (lambda x: np.logaddexp(0.0, x), 2.0),
    "sqrt": (np.sqrt, 0.501),
}


def compute(name, x):
    x = np.asarray(x, np.float32)
    t = leaf(x)
    return evaluate([getattr(ops, name)(t)], {t: x}, guard=False)[0]


def exact(name, x):
    with np.errstate(all="ignore"):
        return FUNCTIONS[name][0](np.asarray(x, np.float32).astype(np.float64))


def ulp_error(y, expected):
    """|y - expected| in units of the last place of the float32 nearest to ``expected``."""
    with np.errstate(over="ignore"):
        nearest = expected.astype(np.float32)
    finite = np.isfinite(nearest) & np.isfinite(y)
    # What is not a number, or overflows, must agree exactly.
    np.testing.assert_array_equal(y[~finite], nearest[~finite])
    unit = np.maximum(np.spacing(np.abs(nearest[finite])).astype(np.float64), 2.0**-149)
    return np.abs(y[finite] - expected[finite]) / unit


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_over_every_exponent(name):
    rng = np.random.default_rng(0)
    bits = np.arange(0, 2**32, 2**14) + rng.integers(0, 2**14, 2**18)
    x = bits.astype(np.uint32).view(np.float32)
    assert ulp_error(compute(name, x), exact(name, x)).max() < FUNCTIONS[name][1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_at_usual_arguments(name):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, s, 100_000) for s in (0.01, 1, 10, 100)])
    assert ulp_error(compute(name, x), exact(name, x)).max() < FUNCTIONS[name][1]


def exact_mish(x):
    n = np.exp(np.minimum(x, 40)) * (np.exp(np.minimum(x, 40)) + 2)
    return x * (n / (n + 2))


FADING = {
    "gelu": lambda x: x * special.ndtr(x),
    "quick_gelu": lambda x: x * special.expit(1.702 * x),
    "silu": lambda x: x * special.expit(x),
    "mish": exact_mish,
}


@pytest.mark.parametrize("name", FADING)
def test_error_of_what_fades_in_units_of_the_argument(name):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(0, s, 100_000) for s in (0.01, 1, 3, 30)]).astype(np.float32)
    error = np.abs(compute(name, x) - FADING[name](x.astype(np.float64)))
    assert (error / np.spacing(np.abs(x))).max() < 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name):
    edges = [0, np.inf, np.nan, 1e-45, 1e-40, 2**-126, 1, 88.7, 88.8, 103, 104, 3.4e38, 0.5, 2**24]
    x = np.array(edges + [-e for e in edges], np.float32)
    y, expected = compute(name, x), exact(name, x)
    assert ulp_error(y, expected).max() < FUNCTIONS[name][1]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


def test_limits():
    x = [-np.inf, -200, 200, np.inf]
    np.testing.assert_array_equal(compute("exp", x), [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(compute("tanh", x), [-1, -1, 1, 1])
    np.testing.assert_array_equal(compute("sigmoid", x), [0, 0, 1, 1])
    np.testing.assert_array_equal(
        compute("log", [0, -0.0, 1, np.inf]), [-np.inf, -np.inf, 0, np.inf]
    )
    assert np.isnan(compute("log", [-1, -np.inf, np.nan])).all()
    assert np.signbit(compute("tanh", [-0.0])).all()


def twin(formula, name):
    """The formula for NumPy scalars."""
    return bind(formula, SCALAR) if isfunction(formula) else SCALAR[name]


@pytest.mark.parametrize("name", MAPS)
def test_scalar_twin_of_map(name):
    formula, tensors, n_numbers = MAPS[name]
    rng = np.random.default_rng(2)
    arrays = [rng.uniform(0.1, 2, 37).astype(np.float32) for _ in range(tensors)]
    if name not in ("log", "log_grad", "power", "sqrt"):
        arrays[-1][::2] *= -1
    if name in ("softplus_grad", "sqrt_grad"):
        arrays[-1] = np.abs(arrays[-1])
    arrays[0][:3] = 0.5
    if name.startswith("select"):
        arrays[int(name != "select")][::3] = 0
    numbers = [np.float32(v) for v in (0.3, 0.7)[:n_numbers]]

    class Case(Map):
        kernel = name
        numbers = ("first", "second")[:n_numbers]

    leaves = [leaf(a) for a in arrays]
    given = dict(zip(Case.numbers, map(float, numbers)))
    (y,) = evaluate([Case(*leaves, **given).output], dict(zip(leaves, arrays)))
    scalar = twin(formula, name)
    expected = [scalar(*values, *numbers) for values in zip(*arrays)]
    assert {np.asarray(e).dtype for e in expected} == {np.dtype(np.float32)}
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# The formula of "broadcast" ignores its second operand: test_reduce.py looks at that kernel.
@pytest.mark.parametrize("name", sorted(set(BROADCASTS) - {"broadcast"}))
def test_scalar_twin_of_broadcast(name):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 37)).astype(np.float32)
    a[0], b[1] = np.nan, np.nan

    class Case(Binary):
        kernel = name

    leaves = [leaf(a), leaf(b)]
    (y,) = evaluate([Case(*leaves).output], dict(zip(leaves, (a, b))))
    scalar = twin(BROADCASTS[name], name)
    np.testing.assert_array_equal(y, [scalar(p, q) for p, q in zip(a, b)])


def test_every_namespace_has_the_same_names():
    assert set(SCALAR) == set(SIMD)


def test_bind_replaces_names_and_keeps_the_formula():
    def formula(x):
        return exp(x) + one  # noqa: F821

    bound = bind(formula, {"exp": lambda x: 10 * x, "one": 1})
    assert bound(2) == 21
    assert bound.__name__ == "formula"

"""Checks of operations against a naive float64 twin and its central differences."""

import numpy as np

from skdeep import training
from skdeep.graph.differentiate import gradients
from skdeep.graph.program import evaluate
from skdeep.graph.tensor import Tensor

STEP = 1e-5  # of central differences, in float64: truncation and rounding both near 1e-10
ELEMENTS = 24  # gradient elements compared one by one; a random direction covers all of them


def leaf(array):
    """A fed tensor of the shape and type of an array."""
    dtype = "int32" if np.asarray(array).dtype.kind in "iu" else "float32"
    return Tensor(np.shape(array), dtype, role="data")


def assert_close(actual, expected, *, rtol=1e-5, atol=None, what="result"):
    """|actual - expected| <= atol + rtol * |expected|, and the same shape.

    ``atol`` None means ``rtol`` times the largest |expected|: the error of a sum goes with its
    terms, which cancel in some elements.
    """
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if atol is None:
        finite = np.abs(expected[np.isfinite(expected)])
        atol = rtol * finite.max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=what)


def run(build, arrays, *, n_threads=1):
    """Output array of ``build(*tensors)`` for given arrays."""
    leaves = [leaf(a) for a in arrays]
    return evaluate([build(*leaves)], dict(zip(leaves, arrays)), n_threads=n_threads)[0]


def check_op(
    build, arrays, reference, *, wrt=None, rtol=1e-5, atol=None, gradient_rtol=None, seed=0
):
    """Compare a graph with its naive twin: values, gradients, and bits for 1 and 2 threads.

    Parameters
    ----------
    build : callable
        ``build(*tensors) -> Tensor``, from leaf tensors of the arrays' shapes.
    arrays : list of ndarray
        Inputs; integers become int32 tensors, everything else float32.
    reference : callable
        ``reference(*arrays) -> array`` in float64 (integers stay integers).
    wrt : list of int or None
        Positions of the inputs whose gradient is checked; None for all float inputs, an empty list
        for none.
    rtol, atol : float
        Of the values, see :func:`assert_close`.
    gradient_rtol : float or None
        Of the gradients, relative to the largest one; None for ten times ``rtol``.
    seed : int
        Of the random cotangent and of the elements looked at.

    Returns
    -------
    ndarray
        The output of the graph.
    """
    rng = np.random.default_rng(seed)
    arrays = [
        np.asarray(a, np.int32 if np.asarray(a).dtype.kind in "iu" else np.float32) for a in arrays
    ]
    exact = [a if a.dtype == np.int32 else a.astype(np.float64) for a in arrays]
    if wrt is None:
        wrt = [k for k, a in enumerate(arrays) if a.dtype == np.float32]
    leaves = [leaf(a) for a in arrays]
    output = build(*leaves)
    cotangent = rng.uniform(0.5, 1.5, output.shape) * rng.choice([-1.0, 1.0], output.shape)
    cotangent = np.asarray(cotangent, np.float32)
    feeds = dict(zip(leaves, arrays))
    wanted, present = [output], []
    if wrt:
        seed_leaf = leaf(cotangent)
        found = gradients(output, [leaves[k] for k in wrt], seed=seed_leaf)
        present = [k for k, g in zip(wrt, found) if g is not None]
        wanted += [g for g in found if g is not None]
        if present:
            feeds[seed_leaf] = cotangent
    results = evaluate(wanted, feeds, n_threads=1)
    for one, two in zip(results, evaluate(wanted, feeds, n_threads=2)):
        np.testing.assert_array_equal(one, two, err_msg="1 and 2 threads give different bits")

    assert_close(results[0], reference(*exact), rtol=rtol, atol=atol, what="forward")
    gradient_rtol = 10 * rtol if gradient_rtol is None else gradient_rtol
    computed = dict(zip(present, results[1:]))
    for k in wrt:
        gradient = computed.get(k, np.zeros_like(arrays[k]))
        _check_gradient(reference, exact, k, cotangent, gradient, gradient_rtol, rng)
    return results[0]


def _check_gradient(reference, exact, k, cotangent, gradient, rtol, rng):
    """Gradient of sum(output * cotangent) in some elements and along one random direction."""
    x = exact[k]
    assert gradient.shape == x.shape, f"gradient {k}: shape {gradient.shape}, not {x.shape}"

    def objective(value):
        inputs = list(exact)
        inputs[k] = value
        return np.sum(np.asarray(reference(*inputs), np.float64) * cotangent)

    def slope(direction):
        ahead, behind = x + STEP * direction, x - STEP * direction
        return (objective(ahead) - objective(behind)) / (2 * STEP)

    scale = max(1e-30, float(np.abs(gradient).max(initial=0.0)))
    for at in rng.permutation(x.size)[:ELEMENTS]:
        direction = np.zeros(x.size)
        direction[at] = 1.0
        want, got = slope(direction.reshape(x.shape)), gradient.reshape(-1)[at]
        index = tuple(int(i) for i in np.unravel_index(at, x.shape))
        assert abs(got - want) <= rtol * scale + 1e-7, (
            f"gradient {k} at {index}: {got}, central difference {want}"
        )
    direction = rng.uniform(0.5, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)
    want, got = slope(direction), float(np.sum(gradient * direction))
    bound = rtol * (scale + float(np.abs(gradient * direction).sum())) + 1e-7
    assert abs(got - want) <= bound, f"gradient {k} along a direction: {got}, not {want}"


def public(base):
    """Public classes of training below a base class."""
    values = {getattr(training, name) for name in training.__all__}
    return {v for v in values if issubclass(v, base) and v is not base}

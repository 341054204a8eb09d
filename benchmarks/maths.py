"""Elementary functions, activations, softmax and log loss in float32, on one core.

Functions of 65536 numbers in the second-level cache against NumPy and scipy.special (float32,
``out=`` given), which compose those activations that they do not have. The largest error is that of
a million arguments, against float64, in units of the last place: of the result, or of the argument
for activations that fade to zero as the argument times something below the smallest number. Softmax
and log loss against PyTorch.
"""

import time

import common

NAME = "maths"
SIZE = 65536
FADING = ("gelu", "quick_gelu", "silu", "mish")  # their errors are in units of the argument
SPREAD = 3.0  # standard deviation of the arguments
BLOCK = 0.02  # seconds of one measurement, about
ROWS = [(4096, 10), (256, 1000)]


def functions():
    """name: (function of NumPy with ``out``, float64 function, whether arguments are positive)."""
    import numpy as np
    from scipy import special

    def gelu(x, out):
        np.multiply(x, np.float32(0.5**0.5), out=out)
        special.erf(out, out=out)
        np.add(out, np.float32(1), out=out)
        np.multiply(out, np.float32(0.5), out=out)
        return np.multiply(out, x, out=out)

    def softplus(x, out):
        return np.logaddexp(np.float32(0), x, out=out)

    def mish(x, out):
        softplus(x, out)
        np.tanh(out, out=out)
        return np.multiply(out, x, out=out)

    def silu(x, out):
        special.expit(x, out=out)
        return np.multiply(out, x, out=out)

    def quick_gelu(x, out):
        np.multiply(x, np.float32(1.702), out=out)
        special.expit(out, out=out)
        return np.multiply(out, x, out=out)

    def exact_mish(x):
        w = np.exp(np.minimum(x, 40))
        n = w * (w + 2)
        return x * (n / (n + 2))

    return {
        "exp": (np.exp, np.exp, False),
        "expm1": (np.expm1, np.expm1, False),
        "log": (np.log, np.log, True),
        "log1p": (np.log1p, np.log1p, True),
        "tanh": (np.tanh, np.tanh, False),
        "sigmoid": (special.expit, special.expit, False),
        "erf": (special.erf, special.erf, False),
        "gelu": (gelu, lambda x: x * special.ndtr(x), False),
        "quick_gelu": (quick_gelu, lambda x: x * special.expit(1.702 * x), False),
        "silu": (silu, lambda x: x * special.expit(x), False),
        "softplus": (softplus, lambda x: np.logaddexp(0.0, x), False),
        "mish": (mish, exact_mish, False),
    }


def nanoseconds(action, count):
    """Shortest time of one call per element, among as many as fit a short while."""
    best, stop = float("inf"), time.perf_counter() + BLOCK
    while time.perf_counter() < stop:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return 1e9 * best / count


def program(build, *arrays):
    """A function that computes an operation again and again, and one that returns its value."""

    from skdeep.graph.program import compile_program
    from skdeep.graph.tensor import Tensor
    from skdeep.kernels.cpu import CPU

    device, memories, leaves = CPU(), {}, []
    for k, array in enumerate(arrays):
        kind = "int32" if array.dtype.kind == "i" else "float32"
        leaves.append(Tensor(array.shape, kind, role=f"leaf{k}"))
        memories[f"leaf{k}"] = device.empty(array.size)
        memories[f"leaf{k}"].view(array.dtype)[:] = array.ravel()
    y = build(*leaves)
    made = compile_program([y])
    memories["arena"], memories["constants"] = device.empty(made.arena_size), made.constants
    table = made.bind(device, {name: device.address(m) for name, m in memories.items()})

    def value():
        memory, offset = made.place(y)
        return memories[memory][offset // 4 :][: y.size].reshape(y.shape).copy()

    return (lambda: device.run(table, 1)), value


def ulps(y, expected, of):
    """Largest |y - expected| in units of the last place of ``of``."""
    import numpy as np

    unit = np.spacing(np.abs(of.astype(np.float32))).astype(np.float64)
    return float((np.abs(y - expected) / unit).max())


def measure_function(name, context):
    """Times and largest errors of one function."""
    import numpy as np

    from skdeep import ops

    peer, exact, positive = functions()[name]
    rng = np.random.default_rng(0)
    many = (SPREAD * rng.standard_normal(2**20)).astype(np.float32)
    if positive:
        many = np.abs(many) + np.float32(1e-3)
    x, out = many[:SIZE].copy(), np.empty(SIZE, np.float32)
    run, _ = program(getattr(ops, name), x)
    contenders = {
        common.SKDEEP: lambda: nanoseconds(run, SIZE),
        "NumPy": lambda: nanoseconds(lambda: peer(x, out=out), SIZE),
    }
    contenders = context.wanted(contenders)
    rows = common.compare(
        name,
        "ns/element",
        common.alternate(contenders, context.repetitions),
        targets={"NumPy": 1.0},
    )
    once, value = program(getattr(ops, name), many)
    once()
    expected = exact(many.astype(np.float64))
    of = many if name in FADING else expected
    own = ulps(value(), expected, of)
    theirs = ulps(peer(many, out=np.empty_like(many)), expected, of)
    if not own < 8:
        raise AssertionError(f"{name} is off by {own:.1f} units of the last place")
    rows.append(common.Comparison(f"{name}, largest error", "ulp", "NumPy", theirs, own))
    return rows


def measure_rows(shape, context):
    """Softmax, and softmax with log loss, of one matrix."""
    import numpy as np
    import torch

    from skdeep import ops

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    t = rng.integers(0, shape[1], shape[0]).astype(np.int32)
    logits, classes = torch.from_numpy(x), torch.from_numpy(t.astype(np.int64))
    cases = {
        "softmax": (program(ops.softmax, x), lambda: torch.softmax(logits, dim=1)),
        "log loss": (
            program(ops.softmax_log_loss, x, t),
            lambda: torch.nn.functional.cross_entropy(logits, classes, reduction="none"),
        ),
    }
    rows = []
    for name, ((run, value), peer) in cases.items():
        run()
        np.testing.assert_allclose(value(), peer().numpy(), rtol=1e-5, atol=1e-6)

        def theirs(peer=peer):
            with torch.inference_mode():
                return nanoseconds(peer, x.size)

        contenders = {common.SKDEEP: lambda run=run: nanoseconds(run, x.size), "PyTorch": theirs}
        measured = common.alternate(context.wanted(contenders), context.repetitions)
        title = f"{name}, {shape[0]} rows of {shape[1]}"
        rows += common.compare(title, "ns/element", measured, targets={"PyTorch": 1.0})
    return rows


def measure(context):
    """All rows."""
    rows = []
    for name in functions():
        rows += measure_function(name, context)
    for shape in ROWS:
        rows += measure_rows(shape, context)
    return rows


if __name__ == "__main__":
    common.main(NAME, __doc__, measure)

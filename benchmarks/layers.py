"""Convolutions and dense layers of known networks, float32, one by one on one core.

Bias and ReLU are fused by all, weights packed by all beforehand; where they are large, calls take
turns through copies of them, so that they come from memory as in a network. The figure for OpenVINO
is its own count of the layer, without what it spends on changing layouts. The share of the peak is
that of the multiply-add units, measured in the same repetition; an algorithm that needs fewer
products can pass it.
"""

import math
import statistics
import time

import common

BLOCK = 0.03  # seconds of one measurement, about
COLD = 48 * 2**20  # bytes that copies of large weights fill together
LARGE = 2**20  # bytes of weights from which on there are copies
TOLERANCE = 1e-5  # largest error, relative to the largest output
ACCUMULATORS = 12  # of the loop that measures the peak: more than latency times units
# network and layer, height and width, channels, filters, kernel, stride, padding
CONVOLUTIONS = [
    ("ResNet, first", 224, 3, 64, 7, 2, 3),
    ("AlexNet, first", 224, 3, 64, 11, 4, 2),
    ("VGG, first", 224, 3, 64, 3, 1, 1),
    ("SqueezeNet, first", 224, 3, 64, 3, 2, 0),
    ("AlexNet", 27, 64, 192, 5, 1, 2),
    ("ResNet", 56, 64, 256, 1, 1, 0),
    ("ResNet", 56, 256, 64, 1, 1, 0),
    ("ResNet", 28, 512, 128, 1, 1, 0),
    ("ResNet", 14, 256, 1024, 1, 1, 0),
    ("ResNet", 7, 512, 2048, 1, 1, 0),
    ("ResNet", 7, 2048, 512, 1, 1, 0),
    ("ResNet", 14, 1024, 2048, 1, 2, 0),
    ("ResNet", 56, 128, 128, 3, 2, 1),
    ("ResNet", 14, 512, 512, 3, 2, 1),
    ("SqueezeNet", 55, 16, 64, 1, 1, 0),
    ("SqueezeNet", 13, 384, 48, 1, 1, 0),
    ("GoogLeNet", 28, 192, 16, 1, 1, 0),
    ("GoogLeNet", 14, 512, 112, 1, 1, 0),
    ("GoogLeNet", 14, 512, 24, 1, 1, 0),
    ("VGG", 224, 64, 64, 3, 1, 1),
    ("ResNet", 56, 64, 64, 3, 1, 1),
    ("ResNet", 28, 128, 128, 3, 1, 1),
    ("ResNet", 14, 256, 256, 3, 1, 1),
    ("ResNet", 7, 512, 512, 3, 1, 1),
    ("GoogLeNet", 14, 96, 208, 3, 1, 1),
    ("SqueezeNet", 27, 32, 128, 3, 1, 1),
]
# network, inputs, outputs, batches
DENSE = [
    ("VGG", 25088, 4096, (1, 8, 32)),
    ("VGG", 4096, 4096, (1, 8, 32)),
    ("ResNet", 2048, 1000, (1, 8)),
]
QUICK = 4  # layers of each kind with --quick


def microseconds(actions):
    """Shortest time of a call, while calls take turns for a short time, but each at least once."""
    calls, best, stop = 0, math.inf, time.perf_counter() + BLOCK
    while calls < len(actions) or time.perf_counter() < stop:
        start = time.perf_counter()
        actions[calls % len(actions)]()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return 1e6 * best


def multiply_adds():
    """A function that keeps the multiply-add units busy; it returns how many operations it did."""
    import numba
    import numpy as np

    from skdeep.kernels import simd

    names = [f"a{k}" for k in range(ACCUMULATORS)]
    source = "def loop(n, x, y):\n    x, y = fill(x), fill(y)\n"
    source += "".join(f"    {a} = fill(np.float32({k}))\n" for k, a in enumerate(names))
    source += "    for _ in range(n):\n"
    source += "".join(f"        {a} = fma({a}, x, y)\n" for a in names)
    source += f"    return sum_lanes({' + '.join(names)})\n"
    scope = {name: getattr(simd, name) for name in ("fill", "fma", "sum_lanes")} | {"np": np}
    exec(source, scope)
    loop = numba.njit(scope["loop"], fastmath={"contract"}, nogil=True)
    n, x, y = 10_000, np.float32(0.999), np.float32(1e-3)
    operations = 2 * n * ACCUMULATORS * simd.WIDTH

    def run():
        loop(n, x, y)
        return operations

    return run


def units():
    """A function that gives the floating-point operations per us of the multiply-add units."""
    run = multiply_adds()
    operations = run()
    return lambda: operations / microseconds([run])


def skdeep_layer(layer, weights, image, copies):
    """Calls of skdeep on a layer, one for each copy of its packed weights, and its output."""
    import numpy as np

    from skdeep.graph.passes import optimize, split_static
    from skdeep.graph.program import compile_program
    from skdeep.graph.tensor import Tensor
    from skdeep.kernels.cpu import CPU

    device = CPU()

    def memory(n, content=()):
        made = device.zeros(n)
        made[: len(content)] = content
        return made

    tensors, values, offset = [], [], 0
    for w in weights:
        tensors.append(Tensor(w.shape, role="parameter", offset=offset))
        padding = -w.size % 16
        values.append(np.pad(w.ravel(), (0, padding)))
        offset += w.size + padding
    values = np.concatenate(values)
    x = Tensor(image.shape, role="data")
    outputs, places, size = split_static(optimize([layer(x, *tensors)], training=False))
    packing, program = compile_program(list(places), pinned=places), compile_program(outputs)
    kept = [packing, values]

    def bind(made, **memories):
        memories["constants"] = made.constants
        memories.setdefault("arena", memory(made.arena_size))
        kept.append(memories)
        return made.bind(device, {name: device.address(m) for name, m in memories.items()})

    parameters, data = memory(values.size, values), memory(image.size, image.ravel())
    arena, calls = memory(program.arena_size), []
    for _ in range(copies):
        static = memory(size)
        device.run(bind(packing, parameter=parameters, static=static))
        table = bind(program, parameter=parameters, static=static, data=data, arena=arena)
        calls.append(lambda table=table: device.run(table))
    (y,) = outputs
    _, at = program.place(y)
    calls[0].__dict__["kept"] = kept
    calls[0]()
    return calls, arena[at // 4 :][: y.size].reshape(y.shape)


def onednn_layer(weights, image, geometry, copies):
    """Calls of oneDNN with packed weights, by layout of the images; None for dense layers."""
    import numpy as np
    import torch

    mkldnn = torch.ops.mkldnn
    w, b = weights
    b = torch.from_numpy(b)
    if geometry is None:
        x = torch.from_numpy(image)
        matrix = torch.from_numpy(np.ascontiguousarray(w.T))
        linear = torch.ops.mkldnn._linear_pointwise
        packed = [mkldnn._reorder_linear_weight(matrix.clone(), len(image)) for _ in range(copies)]
        calls = [lambda p=p: linear(x, p, b, "relu", [], "") for p in packed]
        return {"oneDNN, packed": [_inference(call) for call in calls]}
    stride, padding = ([v, v] for v in geometry)
    kernel = torch.from_numpy(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))
    last = torch.from_numpy(image).permute(0, 3, 1, 2)
    found = {}
    for name, x in (("channels last", last), ("channels first", last.contiguous())):
        calls = []
        for _ in range(copies):
            packed = mkldnn._reorder_convolution_weight(
                kernel.clone(), padding, stride, [1, 1], 1, list(x.shape)
            )
            calls.append(
                lambda x=x, p=packed: mkldnn._convolution_pointwise(
                    x, p, b, padding, stride, [1, 1], 1, "relu", [], ""
                )
            )
        found[f"oneDNN, packed, {name}"] = [_inference(call) for call in calls]
    return found


def _inference(action):
    """``action`` without PyTorch's bookkeeping for gradients."""
    import torch

    def run():
        with torch.inference_mode():
            return action()

    return run


def openvino_layer(weights, image, geometry, copies):
    """A function that gives OpenVINO's own count of the layer in us."""
    import numpy as np
    import openvino
    from openvino import opset13

    w, b = weights
    data = image if geometry is None else np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    x = opset13.parameter(data.shape, np.float32)
    outputs = []
    for k in range(copies):
        w = np.roll(w, k, axis=-1)  # equal layers would be computed once
        if geometry is None:
            y = opset13.matmul(x, opset13.constant(w), False, False)
            y = opset13.add(y, opset13.constant(b))
        else:
            s, p = geometry
            kernel = opset13.constant(np.ascontiguousarray(w.transpose(3, 2, 0, 1)))
            y = opset13.convolution(x, kernel, [s, s], [p, p], [p, p], [1, 1])
            y = opset13.add(y, opset13.constant(b.reshape(1, -1, 1, 1)))
        outputs.append(opset13.relu(y))
    hints = {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True,
    }  # fmt: skip
    model = openvino.Core().compile_model(openvino.Model(outputs, [x]), "CPU", hints)
    request = model.create_infer_request()
    request.set_input_tensor(openvino.Tensor(data))

    def count():
        times, stop = [], time.perf_counter() + BLOCK
        while not times or time.perf_counter() < stop:
            request.infer()
            nodes = [
                node.real_time.total_seconds()
                for node in request.get_profiling_info()
                if node.node_type in ("Convolution", "FullyConnected", "MatMul")
            ]
            times.append(1e6 * sum(nodes) / copies)
        return min(times)

    return count


def check(name, ours, weights, image, geometry):
    """Refuse to time what is wrong: compare with PyTorch in float64."""
    import numpy as np
    import torch

    w, b = (torch.from_numpy(a.astype(np.float64)) for a in weights)
    x = torch.from_numpy(image.astype(np.float64))
    if geometry is None:
        exact = torch.relu(x @ w + b).numpy()
    else:
        s, p = geometry
        y = torch.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, s, p)
        exact = torch.relu(y).permute(0, 2, 3, 1).numpy()
    error = np.abs(ours - exact).max() / np.abs(exact).max()
    if not error < TOLERANCE:
        raise AssertionError(f"{name}: results differ by {error:.1e} of the largest")


def layer_lines(context, what, image_shape, weight_shape, geometry, peak, openvino=True):
    """Measure one layer: skdeep and each of its algorithms beside the peers and the peak."""
    import numpy as np

    from skdeep import ops

    rng = np.random.default_rng(0)
    image = np.maximum(rng.standard_normal(image_shape), 0).astype(np.float32)
    w = rng.standard_normal(weight_shape) / math.sqrt(math.prod(weight_shape[:-1]))
    weights = [w.astype(np.float32), rng.standard_normal(weight_shape[-1]).astype(np.float32)]
    copies = max(1, COLD // w.size // 4) if 4 * w.size > LARGE else 1

    def build(algorithm):
        if geometry is None:
            return lambda x, w, b: ops.relu(ops.dense(x, w, b))
        stride, padding = geometry
        return lambda x, w, b: ops.relu(
            ops.conv2d(x, w, b, stride=stride, padding=padding, algorithm=algorithm)
        )

    algorithms = {common.SKDEEP: "auto"}
    if geometry == (1, 1) and weight_shape[0] == 3:
        for name in ("direct", "winograd2", "winograd4"):
            algorithms[f"skdeep, {name}"] = name
    contenders = {}
    for name, algorithm in algorithms.items():
        calls, y = skdeep_layer(build(algorithm), weights, image, copies)
        check(f"{what}, {name}", y, weights, image, geometry)
        contenders[name] = lambda calls=calls: microseconds(calls)
        size = y.size
    for name, calls in onednn_layer(weights, image, geometry, copies).items():
        contenders[name] = lambda calls=calls: microseconds(calls)
    if openvino:
        contenders["OpenVINO, its own count"] = openvino_layer(weights, image, geometry, copies)
    contenders["peak"] = peak
    measured = common.alternate(context.wanted(contenders), context.repetitions)
    peaks = measured.pop("peak", None)
    measured = common.best_of(measured, "oneDNN, packed")
    found = common.compare(what, "us", measured)
    own = measured.get(common.SKDEEP)
    if peaks and own:
        operations = 2 * size * math.prod(weight_shape[:-1])
        speeds = [operations / t / 1e3 for t in own]
        shares = [speed / peak * 1e3 for speed, peak in zip(speeds, peaks)]
        found.append(
            common.Comparison(
                what,
                "GFLOP/s",
                "multiply-add units",
                statistics.median(peaks) / 1e3,
                statistics.median(speeds),
                statistics.median(shares),
                min(shares),
                max(shares),
            )  # fmt: skip
        )
    return found


def convolution_title(name, size, channels, filters, kernel, stride, batch):
    """What a line says of a convolution."""
    title = f"{name}: {kernel}x{kernel}, {channels} -> {filters} at {size}x{size}"
    return title + (f", stride {stride}" if stride > 1 else "") + f", batch {batch}"


def measure(context):
    peak, found = units(), []
    for name, size, c, f, k, stride, padding in CONVOLUTIONS[: QUICK if context.quick else None]:
        for batch in (1, 4):
            what = convolution_title(name, size, c, f, k, stride, batch)
            found += layer_lines(
                context, what, (batch, size, size, c), (k, k, c, f), (stride, padding), peak
            )
    for name, c, f, batches in DENSE[1:] if context.quick else DENSE:
        for batch in batches:
            what = f"{name}: dense, {c} -> {f}, batch {batch}"
            found += layer_lines(context, what, (batch, c), (c, f), None, peak)
    return found


if __name__ == "__main__":
    common.main("layers", __doc__, measure, repetitions=5)

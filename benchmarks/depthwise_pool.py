"""Depthwise convolution, pooling and MobileNet's blocks, layer by layer, float32, on one core."""

import time

import common

BLOCK = 0.02  # seconds of one measurement, about
CHAIN = 4  # layers of skdeep in a row; OpenVINO's are timed within a chain, too
# channels, height and width, stride: the depthwise layers of MobileNet V2
DEPTHWISE = [
    (32, 112, 1), (96, 112, 2), (144, 56, 1), (144, 56, 2), (192, 28, 1), (384, 14, 1),
    (576, 14, 2), (960, 7, 1),
]  # fmt: skip
# kind, channels, height and width, window, stride, padding
POOLING = [
    ("max", 64, 112, 3, 2, 1), ("max", 192, 56, 3, 2, 1), ("max", 64, 112, 2, 2, 0),
    ("average", 192, 28, 3, 1, 1), ("average", 256, 28, 2, 2, 0), ("average", 1280, 7, 7, 1, 0),
    ("average", 2048, 7, 7, 1, 0), ("max", 512, 7, 7, 1, 0),
]  # fmt: skip
# channels, height and width, window, stride, padding of trained layers, and the batch
POOLING_GRADIENTS = [
    (6, 28, 2, 2, 0, 64), (16, 10, 2, 2, 0, 64), (20, 24, 2, 2, 0, 64), (50, 8, 2, 2, 0, 64),
    (20, 28, 3, 2, 1, 64), (64, 56, 3, 2, 1, 8), (128, 16, 2, 2, 0, 64),
]  # fmt: skip
# channels in, expanded, out, height and width, stride: the blocks of MobileNet V2
BLOCKS = [
    (16, 96, 24, 112, 2), (24, 144, 24, 56, 1), (24, 144, 32, 56, 2), (32, 192, 32, 28, 1),
    (64, 384, 64, 14, 1), (96, 576, 96, 14, 1), (160, 960, 160, 7, 1),
]  # fmt: skip


def microseconds(action):
    """Shortest time of one call, among as many as fit a short while."""
    best, stop = float("inf"), time.perf_counter() + BLOCK
    while time.perf_counter() < stop:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return 1e6 * best


def program(outputs, feeds):
    """A function that computes tensors of a graph once, and one that returns their values."""
    import numpy as np

    from skdeep.graph.program import compile_program
    from skdeep.kernels.cpu import CPU

    device = CPU()
    memories = {}
    for k, (tensor, value) in enumerate(feeds.items()):
        tensor.role, tensor.offset = f"leaf{k}", 0
        memories[tensor.role] = device.empty(tensor.size)
        memories[tensor.role][:] = np.asarray(value, np.float32).ravel()
    made = compile_program(outputs)
    memories["arena"], memories["constants"] = device.empty(made.arena_size), made.constants
    memories["arena"][:] = np.nan
    table = made.bind(device, {name: device.address(m) for name, m in memories.items()})

    def values():
        found = []
        for t in outputs:
            memory, offset = made.place(t)
            found.append(memories[memory][offset // 4 :][: t.size].reshape(t.shape).copy())
        return found

    chain = np.tile(table, (CHAIN, 1))

    def run():
        device.run(chain, 1)

    run.copies, run.memories = CHAIN, memories  # which must live as long
    return run, values


def packed_once(tensor, feeds):
    """The graph with packed weights as leaves, as a network keeps them, and their values."""
    import numpy as np

    from skdeep.graph.passes import rewrite
    from skdeep.graph.program import evaluate
    from skdeep.graph.tensor import Tensor

    feeds = dict(feeds)

    def rule(op, inputs, uses):
        if not type(op).__name__.startswith("Pack"):
            return None
        (panels,) = evaluate([op.output], {t: feeds[t] for t in op.inputs}, guard=False)
        leaf = Tensor(op.output.shape)
        feeds[leaf] = np.asarray(panels)
        return [leaf]

    return rewrite([tensor], rule), feeds


def agree(name, ours, theirs):
    """Refuse to time what is wrong."""
    import numpy as np

    scale = np.abs(theirs).max()
    error = np.abs(ours - theirs).max() / scale
    if not error < 1e-4:
        raise AssertionError(f"{name}: results differ by {error:.1e} of the largest")


def channels_first(array):
    """An (n, h, w, c) array as a PyTorch tensor in the memory format channels_last."""
    import torch

    return torch.from_numpy(array).permute(0, 3, 1, 2)


def inference(action):
    """``action`` without PyTorch's bookkeeping for gradients."""
    import torch

    def run():
        with torch.inference_mode():
            return action()

    return run


def openvino_model(build, shape, copies=1):
    """A function that runs ``copies`` of a layer, one after the other, in OpenVINO on one core."""
    import numpy as np
    import openvino
    from openvino import opset13

    x = opset13.parameter(shape, np.float32)
    y = x
    for _ in range(copies):
        y = build(opset13, y)
    hints = {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }  # fmt: skip
    model = openvino.Core().compile_model(openvino.Model([y], [x]), "CPU", hints)
    request = model.create_infer_request()
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    request.set_input_tensor(openvino.Tensor(data))
    return request.infer


def openvino_layer(build, shape):
    """Time of a layer within a chain of them: conversions of the layout at its ends do not count.

    The chain alternates with a single layer, whose time is taken off.
    """
    one, nine = openvino_model(build, shape), openvino_model(build, shape, 9)
    return lambda: (microseconds(nine) - microseconds(one)) / 8


def timed(contenders):
    """Functions that give the time of one call, or of one layer of a chain of ``run.copies``."""
    return {
        name: (lambda run=run: microseconds(run) / getattr(run, "copies", 1))
        for name, run in contenders.items()
    }


def lines(context, what, contenders, target):
    """Comparison with the fastest peer."""
    measured = common.alternate(context.wanted(contenders), context.repetitions)
    measured = common.best_of(measured, "peer")
    return common.compare(what, "us", measured, targets={"peer": target})


def depthwise(context, batch):
    """Forward, with bias and ReLU6."""
    import numpy as np
    import torch

    from skdeep.graph.tensor import Tensor
    from skdeep.ops.depthwise import DepthwiseConv2D

    F, mkldnn, rng = torch.nn.functional, torch.ops.mkldnn, np.random.default_rng(0)
    found = []
    for c, size, s in DEPTHWISE:
        x = rng.standard_normal((batch, size, size, c)).astype(np.float32)
        w = rng.standard_normal((3, 3, 1, c)).astype(np.float32)
        b = rng.standard_normal(c).astype(np.float32)
        leaves = [Tensor(a.shape) for a in (x, w, b)]
        y = DepthwiseConv2D(*leaves, stride=(s, s), padding=((1, 1), (1, 1)), dilation=(1, 1),
                            groups=c, low=0.0, high=6.0).output  # fmt: skip
        run, values = program([y], dict(zip(leaves, (x, w, b))))
        tx, tb = channels_first(x), torch.from_numpy(b)
        tw = torch.from_numpy(w.transpose(3, 2, 0, 1).copy())
        last = tw.to(memory_format=torch.channels_last)
        packed = mkldnn._reorder_convolution_weight(tw, [1, 1], [s, s], [1, 1], c, list(tx.shape))

        def eager(tx=tx, last=last, tb=tb, s=s, c=c):
            return F.relu6(F.conv2d(tx, last, tb, s, 1, 1, c), inplace=True)

        def prepacked(tx=tx, packed=packed, tb=tb, s=s, c=c):
            return mkldnn._convolution_pointwise(
                tx, packed, tb, [1, 1], [s, s], [1, 1], c, "hardtanh", [0.0, 6.0], ""
            )

        def chain(opset, y, w=w, b=b, c=c):
            kernel = opset.constant(w.transpose(3, 2, 0, 1).reshape(c, 1, 1, 3, 3).copy())
            y = opset.group_convolution(y, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
            return opset.clamp(opset.add(y, opset.constant(b.reshape(1, c, 1, 1))), 0.0, 6.0)

        run()
        name = f"depthwise {c}@{size}{' stride 2' if s == 2 else ''}, batch {batch}"
        agree(name, values()[0], inference(eager)().permute(0, 2, 3, 1).numpy())
        contenders = timed(
            {
                "peer: PyTorch channels_last": inference(eager),
                "peer: oneDNN prepacked": inference(prepacked),
                common.SKDEEP: run,
            }
        )
        if s == 1:
            contenders["peer: OpenVINO, in a chain"] = openvino_layer(chain, list(tx.shape))
        found += lines(context, name, contenders, 1.2)
    return found


def depthwise_gradients(context, batch):
    """Gradients of the input and of the weights, each by itself."""
    import numpy as np
    import torch

    from skdeep.graph.tensor import Tensor
    from skdeep.ops.depthwise import DepthwiseGradW, DepthwiseGradX

    rng, found = np.random.default_rng(0), []
    for c, size, s in DEPTHWISE:
        out = size // s
        x = rng.standard_normal((batch, size, size, c)).astype(np.float32)
        w = rng.standard_normal((3, 3, 1, c)).astype(np.float32)
        dy = rng.standard_normal((batch, out, out, c)).astype(np.float32)
        geometry = {"stride": (s, s), "padding": ((1, 1),) * 2, "dilation": (1, 1), "groups": c}
        leaves = [Tensor(a.shape) for a in (x, w, dy)]
        feeds = dict(zip(leaves, (x, w, dy)))
        tx, ty = channels_first(x), channels_first(dy)
        tw = torch.from_numpy(w.transpose(3, 2, 0, 1).copy())
        tw = tw.to(memory_format=torch.channels_last)

        def peer(mask, ty=ty, tx=tx, tw=tw, s=s, c=c):
            return lambda: torch.ops.aten.convolution_backward(
                ty, tx, tw, None, (s, s), (1, 1), (1, 1), False, (0, 0), c, mask
            )

        of_x = DepthwiseGradX(leaves[2], leaves[1], shape=x.shape, **geometry).output
        of_w = DepthwiseGradW(leaves[0], leaves[2], kernel=(3, 3), **geometry).outputs[0]
        for k, (which, tensor) in enumerate((("input", of_x), ("weights", of_w))):
            run, values = program([tensor], feeds)
            run()
            mask = (k == 0, k == 1, False)
            name = f"d {which} of depthwise {c}@{size}, stride {s}, batch {batch}"
            theirs = inference(peer(mask))()[k]
            theirs = theirs.permute(*((0, 2, 3, 1), (2, 3, 1, 0))[k]).numpy()
            agree(name, values()[0], theirs)
            contenders = {"peer: PyTorch channels_last": inference(peer(mask)), common.SKDEEP: run}
            found += lines(context, name, timed(contenders), 1.2)
    return found


def blocks(context, batch):
    """Inverted residual blocks: 1x1, depthwise, 1x1, with ReLU6 between them."""
    import numpy as np
    import torch

    from skdeep import ops
    from skdeep.graph import passes
    from skdeep.graph.tensor import Tensor

    F, rng, found = torch.nn.functional, np.random.default_rng(0), []
    for c, e, f, size, s in BLOCKS:
        x = rng.standard_normal((batch, size, size, c)).astype(np.float32)
        shapes = [(1, 1, c, e), (e,), (3, 3, 1, e), (e,), (1, 1, e, f), (f,)]
        scales = [c**-0.5, 0.1, 0.3, 0.1, e**-0.5, 0.1]
        arrays = [k * rng.standard_normal(a).astype(np.float32) for a, k in zip(shapes, scales)]
        leaves = [Tensor(a.shape) for a in (x, *arrays)]

        def build(y, w1, b1, wd, bd, w2, b2, s=s, e=e):
            z = ops.clip(ops.conv2d(y, w1, b1), 0.0, 6.0)
            z = ops.clip(ops.conv2d(z, wd, bd, stride=s, padding=1, groups=e), 0.0, 6.0)
            z = ops.conv2d(z, w2, b2)
            return z + y if z.shape == y.shape else z

        (y,) = passes.optimize([build(*leaves)], training=False)
        run, values = program(*packed_once(y, dict(zip(leaves, (x, *arrays)))))
        run()
        tx = channels_first(x)
        last = [
            torch.from_numpy(a.transpose(3, 2, 0, 1).copy() if a.ndim == 4 else a) for a in arrays
        ]
        last = [a.to(memory_format=torch.channels_last) if a.ndim == 4 else a for a in last]

        def eager(tx=tx, last=last, s=s, c=c, e=e, f=f):
            w1, b1, wd, bd, w2, b2 = last
            y = F.relu6(F.conv2d(tx, w1, b1), inplace=True)
            y = F.relu6(F.conv2d(y, wd, bd, s, 1, 1, e), inplace=True)
            y = F.conv2d(y, w2, b2)
            return y + tx if s == 1 and c == f else y

        def chain(opset, y, last=last, s=s, c=c, e=e, f=f):
            w1, b1, wd, bd, w2, b2 = [a.contiguous().numpy() for a in last]

            def shift(y, b):
                return opset.add(y, opset.constant(b.reshape(1, -1, 1, 1)))

            z = opset.convolution(y, opset.constant(w1), [1, 1], [0, 0], [0, 0], [1, 1])
            z = opset.clamp(shift(z, b1), 0.0, 6.0)
            kernel = opset.constant(wd.reshape(e, 1, 1, 3, 3))
            z = opset.group_convolution(z, kernel, [s, s], [1, 1], [1, 1], [1, 1])
            z = opset.clamp(shift(z, bd), 0.0, 6.0)
            z = opset.convolution(z, opset.constant(w2), [1, 1], [0, 0], [0, 0], [1, 1])
            z = shift(z, b2)
            return opset.add(z, y) if s == 1 and c == f else z

        name = f"block {c}-{e}-{f}@{size}{' stride 2' if s == 2 else ''}, batch {batch}"
        agree(name, values()[0], inference(eager)().permute(0, 2, 3, 1).numpy())
        contenders = timed({"peer: PyTorch channels_last": inference(eager), common.SKDEEP: run})
        shape = list(tx.shape)
        if s == 1 and c == f:
            contenders["peer: OpenVINO, in a chain"] = openvino_layer(chain, shape)
        else:
            contenders |= timed({"peer: OpenVINO": openvino_model(chain, shape)})
        found += lines(context, name, contenders, 1.2)
    return found


def pooling(context, batch):
    """Forward."""
    import numpy as np
    import torch

    from skdeep import ops
    from skdeep.graph.tensor import Tensor

    F, rng, found = torch.nn.functional, np.random.default_rng(0), []
    for kind, c, size, k, s, pad in POOLING:
        x = rng.standard_normal((batch, size, size, c)).astype(np.float32)
        leaf, tx = Tensor(x.shape), channels_first(x)
        if kind == "max":
            y, peer = ops.max_pool2d(leaf, k, s, pad), (lambda a=(tx, k, s, pad): F.max_pool2d(*a))
        else:
            y = ops.average_pool2d(leaf, k, s, pad)

            def peer(a=(tx, k, s, pad)):
                return F.avg_pool2d(*a, count_include_pad=False)

        contenders = {"peer: PyTorch channels_last": inference(peer)}
        if k == size:

            def peer(tx=tx, function=torch.amax if kind == "max" else torch.mean):
                return function(tx, dim=(2, 3), keepdim=True)

            contenders["peer: PyTorch reduction"] = inference(peer)
        run, values = program([y], {leaf: x})
        run()
        name = f"{kind} pool {k}x{k} stride {s}, {c}@{size}, batch {batch}"
        agree(name, values()[0], peer().permute(0, 2, 3, 1).numpy())
        contenders[common.SKDEEP] = run
        found += lines(context, name, timed(contenders), 1.3)
    return found


def pooling_gradients(context):
    """Gradients with respect to the input; the maximum remembers where it was, on both sides."""
    import numpy as np
    import torch

    from skdeep import ops
    from skdeep.graph.tensor import Tensor

    aten, rng, found = torch.ops.aten, np.random.default_rng(0), []
    for c, size, k, s, pad, batch in POOLING_GRADIENTS:
        x = rng.standard_normal((batch, size, size, c)).astype(np.float32)
        leaf, tx = Tensor(x.shape), channels_first(x)
        y = ops.max_pool2d(leaf, k, s, pad)
        dy = rng.standard_normal(y.shape).astype(np.float32)
        ty = channels_first(dy)
        windows = ((k, k), (s, s), (pad, pad))
        _, taps = aten.max_pool2d_with_indices(tx, *windows)

        def of_max(ty=ty, tx=tx, taps=taps, windows=windows):
            return aten.max_pool2d_with_indices_backward(ty, tx, *windows, (1, 1), False, taps)

        def of_mean(ty=ty, tx=tx, windows=windows):
            return aten.avg_pool2d_backward(ty, tx, *windows, False, False, None)

        seed = Tensor(dy.shape)
        mean = ops.average_pool2d(leaf, k, s, pad)
        for kind, op, peer in (("max", y.op, of_max), ("average", mean.op, of_mean)):
            (dx,) = op.gradient(seed)
            feeds = {leaf: x, seed: dy}
            if kind == "max":  # the tap numbers are computed once, and fed
                forward, values = program([y, op.outputs[1]], {leaf: x})
                forward()
                indices = Tensor(dy.shape)
                feeds[indices] = values()[1]
                dx = dx.op.rebuild([seed, indices]).output
            run, values = program([dx], feeds)
            run()
            name = f"d {kind} pool {k}x{k} stride {s}, {c}@{size}, batch {batch}"
            agree(name, values()[0], peer().permute(0, 2, 3, 1).numpy())
            contenders = {"peer: PyTorch channels_last": inference(peer), common.SKDEEP: run}
            found += lines(context, name, timed(contenders), 1.2)
    return found


PARTS = {
    "depthwise": depthwise,
    "depthwise gradients": depthwise_gradients,
    "blocks": blocks,
    "pooling": pooling,
}


def measure(context):
    import peers

    peers.set_threads(1)
    found = []
    if context.quick:
        for shapes in (DEPTHWISE, POOLING, POOLING_GRADIENTS, BLOCKS):
            del shapes[1:]
    for batch in (1,) if context.quick else (1, 8):
        for part in PARTS.values():
            found += part(context, batch)
    return found + pooling_gradients(context)


if __name__ == "__main__":
    common.main("depthwise_pool", __doc__, measure, threads=1)

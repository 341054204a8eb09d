"""The peers of ``networks.py``: whole networks in PyTorch, onnxruntime and OpenVINO.

Every builder takes the same case and gives a callable that returns the outputs as a NumPy array.
Each peer gets its input in the layout its users have: (n, c, h, w) in memory for PyTorch's default,
onnxruntime and OpenVINO (what an exported file asks for), channels last for PyTorch's
``channels_last``. Nothing is converted within the time measured.
"""

import warnings
from pathlib import Path

import numpy as np

# A torchvision of the same day; its own random weights are replaced.
OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": False}}
# Networks that timm has and torchvision has not, and what timm calls them.
TIMM = {
    "clip_vit_b_32": ("vit_base_patch32_clip_quickgelu_224", {"num_classes": 512}),
    "dinov2_vits14": ("vit_small_patch14_dinov2", {"num_classes": 0}),
    "vit_s_16": ("vit_small_patch16_224", {}),
}


def torch_network(architecture, weights):
    """torchvision's or timm's network with our weights, ready to predict."""
    import torch

    if architecture.name in TIMM:
        import timm

        name, options = TIMM[architecture.name]
        network = timm.create_model(name, img_size=architecture.input_shape[:2], **options)
    else:
        import torchvision

        with torch.device("meta"):
            options = OPTIONS.get(architecture.name, {})
            network = getattr(torchvision.models, architecture.name)(weights=None, **options)
        network = network.to_empty(device="cpu")
    network.eval()
    state = architecture.to_torchvision(weights)
    state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}
    if architecture.name == "clip_vit_b_32":
        state["head.bias"] = torch.zeros(architecture.n_outputs)  # of timm alone
    missing, unknown = network.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise ValueError(f"{architecture.name}: {missing} missing, {unknown} unknown")
    return network


def exact(network, images, rows=4):
    """Outputs in float64, some images at a time."""
    import torch

    network = network.double()
    x = torch.from_numpy(images.transpose(0, 3, 1, 2))
    with torch.inference_mode():
        parts = [network(part.double()) for part in x.split(rows)]
    network.float()
    return torch.cat(parts).numpy()


def torch_runner(network, images, threads, *, precision, channels_last, compiled=False):
    """PyTorch, eager or compiled with weights frozen (so that they are packed once)."""
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    kind = getattr(torch, precision)
    network = network.to(dtype=kind, memory_format=layout)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).to(kind).contiguous(memory_format=layout)
    if not compiled:

        def run():
            torch.set_num_threads(threads)
            with torch.inference_mode():
                return network(x).float().numpy()

        return run

    import torch._inductor.config as inductor

    inductor.freezing = True
    torch._dynamo.reset()
    function = torch.compile(network)

    def run():
        torch.set_num_threads(threads)
        with torch.no_grad():
            return function(x).float().numpy()

    run()
    return run


def onnx_file(architecture, weights, shape, folder):
    """Path of the network as an ONNX file for inputs of one shape (n, c, h, w)."""
    path = Path(folder) / f"{architecture.name}-{shape[0]}.onnx"
    if not path.exists():
        import torch

        network = torch_network(architecture, weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                network, torch.zeros(shape), str(path), dynamo=False, input_names=["x"]
            )
    return path


def onnxruntime_runner(path, images, threads):
    """onnxruntime, all optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return lambda: session.run(None, {"x": x})[0]


def openvino_runner(path, images, threads, *, precision, streams=1):
    """OpenVINO; with several streams each takes a part of the batch."""
    import openvino

    core = openvino.Core()
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": hint,
    }
    compiled = core.compile_model(str(path), "CPU", settings)
    x = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    parts = np.split(x, streams)
    requests = [compiled.create_infer_request() for _ in parts]
    for request, part in zip(requests, parts):
        request.set_input_tensor(openvino.Tensor(part))

    def run():
        if streams == 1:
            requests[0].infer()
        else:
            for request in requests:
                request.start_async()
            for request in requests:
                request.wait()
        return np.concatenate([r.get_output_tensor(0).data for r in requests], dtype=np.float32)

    return run


def builders(architecture, weights, images, threads, precision, folder):
    """``build()`` of every peer's runner, by name. ONNX files are kept in ``folder``."""
    n = len(images)

    def torch(**options):
        network = torch_network(architecture, weights)
        return torch_runner(network, images, threads, precision=precision, **options)

    def path(rows):
        shape = (rows, images.shape[3], *images.shape[1:3])
        return onnx_file(architecture, weights, shape, folder)

    def openvino(streams):
        return openvino_runner(
            path(n // streams), images, threads, precision=precision, streams=streams
        )

    made = {
        "PyTorch": lambda: torch(channels_last=False),
        "PyTorch channels_last": lambda: torch(channels_last=True),
        "PyTorch compiled": lambda: torch(channels_last=True, compiled=True),
        "onnxruntime": lambda: onnxruntime_runner(path(n), images, threads),
        "OpenVINO, 1 stream": lambda: openvino(1),
    }
    if precision != "float32":
        del made["PyTorch"], made["onnxruntime"]  # no kernels worth comparing, and none at all
    if threads > 1 and n % threads == 0:
        made[f"OpenVINO, {threads} streams"] = lambda: openvino(threads)
    return made

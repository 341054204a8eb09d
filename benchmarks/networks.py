"""Whole networks, prediction with random weights: latency and throughput against the best peer.

Every case (network, precision, threads, batch) runs in a process of its own, on as many cores as
threads. Images are 224 x 224 x 3 normal numbers; each contender takes them in the layout of its
users: skdeep channels last, PyTorch, onnxruntime and OpenVINO channels first, and PyTorch's
channels_last accordingly. Outputs are compared with PyTorch's in float64 first; where they are
wrong there is no time. Memory is measured in one more process per contender.
"""

import argparse
import datetime
import inspect
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import common

NAME = "networks"
NETWORKS = [
    "vgg16", "resnet18", "resnet50", "googlenet", "squeezenet1_1", "alexnet", "mobilenet_v2",
    "vit_b_16", "convnext_tiny", "vit_s_16", "dinov2_vits14", "clip_vit_b_32",
    "efficientnet_b0", "densenet121", "mobilenet_v3_large",
]  # fmt: skip
PRECISIONS = ("float32", "bfloat16")
# Largest relative error of the outputs, in the norm over all of them: ten times what was seen.
TOLERANCE = {"float32": 2e-5, "bfloat16": 8e-2}
SHOT = 0.3  # seconds that one repetition of one contender lasts, or one call
TARGETS = {  # ratio to the best peer, in the cases below
    "vgg16": (2.2, 1.7, 1.1),
    "resnet18": (1.8, 1.6, 1.0),
    "resnet50": (1.3, 1.25, 1.0),
    "googlenet": (1.3, 1.2, 1.0),
    "squeezenet1_1": (1.3, 1.2, 1.0),
    "alexnet": (1.2, 1.1, 1.0),
    "mobilenet_v2": (1.3, 1.3, 1.0),
    "vit_b_16": (1.05, 1.1, 0.9),
    "convnext_tiny": (1.0, 1.0, 1.0),
    "vit_s_16": (1.0, 1.0, 1.0),
    "dinov2_vits14": (1.0, 1.0, 1.0),
    "clip_vit_b_32": (1.0, 1.0, 1.0),
    "efficientnet_b0": (1.0, 1.0, 1.0),
    "densenet121": (1.0, 1.0, 1.0),
    "mobilenet_v3_large": (1.0, 1.0, 1.0),
}
TARGET_CASES = [("float32", 8, 2), ("float32", 1, 1), ("bfloat16", 8, 2)]


# -- skdeep's side -------------------------------------------------------------------------------


def skdeep_runner(architecture, weights, images, threads, precision):
    """A callable that gives a list of the outputs of all images, and the predictor behind it.

    This is all that the benchmark knows of how skdeep predicts.
    """
    from skdeep.kernels.cpu import CPU
    from skdeep.training.data import Data
    from skdeep.training.inference import Predictor, block_rows
    from skdeep.training.weights import Weights, place

    options = {} if precision == "float32" else {"precision": precision}
    network = architecture.network()
    shapes = network.probe().values()
    device, n = CPU(), len(images)
    data = Data(images.reshape(n, -1), architecture.input_shape)
    memories = {role: place(device, v) for role, v in network.gather(weights).items()}
    block = block_rows(n, max(math.prod(s) for s in shapes), threads)
    weights = Weights(device, memories)
    predictor = Predictor(
        network, lambda output, trace, y: [output], data, weights, block, **options
    )
    return predictor.bound(data, threads), predictor


def skdeep_memory(predictor):
    """MiB of a predictor: arena of one thread, the least any plan needs, packed weights."""
    program = predictor.program
    return {
        "arena": 4 * program.arena_size / 2**20,
        "live peak": 4 * program.live_peak / 2**20,
        "packed weights": 4 * predictor.static.size / 2**20,
    }


def available(precision):
    """Whether skdeep computes in this precision."""
    from skdeep.training.inference import Predictor

    return precision == "float32" or "precision" in inspect.signature(Predictor).parameters


# -- one case, in a process of its own -----------------------------------------------------------


def prepare(case):
    """Architecture, weights and images of a case."""
    import numpy as np

    from skdeep.features import find_network, random_weights

    architecture = find_network(case["network"])
    weights = random_weights(architecture.network(), seed=0)
    shape = (case["batch"], *architecture.input_shape)
    return architecture, weights, np.random.default_rng(0).standard_normal(shape, np.float32)


def relative_error(outputs, expected):
    """Norm of the difference over the norm of what is expected; infinite for another shape."""
    import numpy as np

    if outputs.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(outputs - expected) / np.linalg.norm(expected))


def measure_case(case):
    """Times of all contenders for one case, and their errors.

    Returns
    -------
    dict
        "times": seconds per batch by contender, one per repetition; "errors": by contender;
        "memory": of skdeep; "wrong": contenders that got no time.
    """
    import network_peers

    architecture, weights, images = prepare(case)
    threads, precision = case["threads"], case["precision"]
    made = network_peers.builders(architecture, weights, images, threads, precision, case["folder"])
    if not case["compiled"]:
        del made["PyTorch compiled"]
    expected = network_peers.exact(network_peers.torch_network(architecture, weights), images)
    runners, memory = {}, {}
    if available(precision):
        predict, predictor = skdeep_runner(architecture, weights, images, threads, precision)
        runners[common.SKDEEP] = lambda: predict()[0]
        memory = skdeep_memory(predictor)
    only = case["only"]
    for name, build in made.items():
        if not only or any(part in name for part in only):
            runners[name] = build()
    errors = {name: relative_error(run(), expected) for name, run in runners.items()}
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE[precision]]
    times = {}
    if common.SKDEEP not in wrong:
        shots = {name: shot(run) for name, run in runners.items() if name not in wrong}
        times = common.alternate(shots, case["repetitions"], warm_up=False)
    return {"times": times, "errors": errors, "memory": memory, "wrong": wrong}


def scaling_case(case):
    """Seconds of skdeep on one thread and on those of the case, alternately."""
    architecture, weights, images = prepare(case)
    shots = {
        f"{n}": shot(skdeep_runner(architecture, weights, images, n, case["precision"])[0])
        for n in (1, case["threads"])
    }
    return common.alternate(shots, case["repetitions"], warm_up=False)


def shot(run):
    """A function that gives seconds per call, from as many calls as fill :data:`SHOT`."""
    calls = max(1, round(SHOT / min(common.seconds(run) for _ in range(2))))

    def timed():
        run()  # the caches and the thread pool are this contender's again
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls

    return timed


def peak_memory(case):
    """MiB that a process needs at most which predicts with one contender, imports included.

    ONNX files are there already: the process that measured the times has written them.
    """
    architecture, weights, images = prepare(case)
    name, threads, precision = case["contender"], case["threads"], case["precision"]
    if name == common.SKDEEP:
        run, _ = skdeep_runner(architecture, weights, images, threads, precision)
    else:
        import network_peers

        run = network_peers.builders(
            architecture, weights, images, threads, precision, case["folder"]
        )[name]()
    run()
    run()
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def in_process(function, case):
    """Result of ``function(case)``, computed in a new process on the cores of the case."""
    command = [sys.executable, __file__, "--case", json.dumps({**case, "function": function})]
    environment = dict(os.environ)
    environment.update({v: str(case["threads"]) for v in common.THREAD_VARIABLES})
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True)
    if done.returncode:
        raise SystemExit(f"{case['network']}: the process ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def run_case(text):
    """What the new process does."""
    case = json.loads(text)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[: case["threads"]])
    print(json.dumps(globals()[case["function"]](case)))


# -- all cases -----------------------------------------------------------------------------------


def target_of(case):
    """The ratio asked for, or None."""
    key = (case["precision"], case["batch"], case["threads"])
    if key not in TARGET_CASES or case["network"] not in TARGETS:
        return None
    return TARGETS[case["network"]][TARGET_CASES.index(key)]


def title_of(case):
    """Words for a case."""
    cores = "one core" if case["threads"] == 1 else f"{case['threads']} cores"
    return f"{case['network']}, {case['precision']}, batch {case['batch']}, {cores}"


def lines_of(case, result):
    """Comparisons of skdeep with every peer in images per second, the fastest peer first."""
    times = dict(result["times"])
    own = times.pop(common.SKDEEP, None)
    lines = []
    for peer in sorted(times, key=lambda name: statistics.median(times[name])):
        n, target = case["batch"], None if lines else target_of(case)
        line = common.Comparison(
            title_of(case),
            "images/s",
            peer,
            n / statistics.median(times[peer]),
            target=f"at least {target:g}x" if target else "",
        )
        if own:
            ratios = [p / o for p, o in zip(times[peer], own)]
            line.value = n / statistics.median(own)
            line.ratio, line.low, line.high = statistics.median(ratios), min(ratios), max(ratios)
        lines.append(line)
    if own and not lines:
        value = case["batch"] / statistics.median(own)
        lines.append(common.Comparison(title_of(case), "images/s", "", float("nan"), value))
    return lines


def scaling_line(case):
    """What more threads give: time of one over time of all, in the same run."""
    times = in_process("scaling_case", case)
    one, many = times["1"], times[str(case["threads"])]
    line = common.Comparison(
        f"{title_of(case)}: against one thread",
        "images/s",
        f"{common.SKDEEP}, 1 thread",
        case["batch"] / statistics.median(one),
        case["batch"] / statistics.median(many),
        target="at least 1.85x" if case["threads"] == 2 else "",
    )
    ratios = [a / b for a, b in zip(one, many)]
    line.ratio, line.low, line.high = statistics.median(ratios), min(ratios), max(ratios)
    return line


def memory_lines(case, contenders, memory):
    """Comparisons of the peak memory of processes, and of what skdeep plans."""
    peaks = {n: in_process("peak_memory", {**case, "contender": n}) for n in contenders}
    own = peaks.pop(common.SKDEEP, None)
    title = f"{title_of(case)}: peak memory of a process"
    lines = [
        common.Comparison(title, "MiB", name, peak, own, own and peak / own)
        for name, peak in peaks.items()
    ]
    for what, value in memory.items():
        title = f"{title_of(case)}: {what}"
        lines.append(common.Comparison(title, "MiB", "", float("nan"), value))
    return lines


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="few repetitions, nothing compiled")
    parser.add_argument("--repetitions", type=int, help="paired runs that count")
    parser.add_argument("--network", nargs="+", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", default=[], help="peers whose name holds one of these")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--no-more", action="store_true", help="without memory and scaling")
    parser.add_argument("--output", type=Path, help="file for the results")
    return parser.parse_args()


def cases(options):
    """All cases asked for, network by network."""
    from skdeep.features.networks import NETWORKS as KNOWN

    count = options.repetitions or (3 if options.quick else 7)
    for network in options.network or [name for name in NETWORKS if name in KNOWN]:
        for precision in options.precision:
            for threads in options.threads:
                for batch in options.batch:
                    yield {
                        "network": network,
                        "precision": precision,
                        "threads": threads,
                        "batch": batch,
                        "repetitions": count,
                        "only": options.only,
                        "compiled": not (options.quick or options.no_compile),
                    }


def measure(case, more):
    """Measure one case, print it, and give its lines and all that is known of it.

    With ``more`` also memory, and what several threads give.
    """
    print(title_of(case), file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        case = {**case, "folder": folder}
        result = in_process("measure_case", case)
        lines = lines_of(case, result)
        for line in lines:
            print("  ".join(common.cells(asdict(line))), flush=True)
        rows = lines[:1]  # the best peer
        if more and common.SKDEEP in result["times"]:
            if case["threads"] > 1:
                rows.append(scaling_line(case))
            contenders = [n for n in result["times"] if n != "PyTorch compiled"]
            rows += memory_lines(case, contenders, result["memory"])
    for name in result["wrong"]:
        print(f"{name} is wrong: relative error {result['errors'][name]:.2g}", file=sys.stderr)
    return rows, result


def main():
    """Measure all cases, print each as it is done, write the results."""
    options = arguments()
    if options.case:
        return run_case(options.case)
    rows, details = [], []
    for case in cases(options):
        lines, result = measure(case, case["batch"] == 8 and not options.no_more)
        rows += lines
        details.append({"case": case, **result})
    record = {
        "benchmark": NAME,
        "title": " ".join(__doc__.split()),
        "date": datetime.date.today().isoformat(),
        "threads": " and ".join(map(str, options.threads)),
        "repetitions": case["repetitions"],
        "quick": options.quick,
        "machine": common.machine(),
        "versions": common.versions(),
        "rows": [asdict(row) for row in rows],
        "details": details,
    }
    print(common.text_table(record))
    path = options.output or common.RESULTS / f"{NAME}{'-quick' if options.quick else ''}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    wrong = [title_of(d["case"]) for d in details if common.SKDEEP in d["wrong"]]
    if wrong:
        raise SystemExit(f"skdeep's outputs are wrong for {'; '.join(wrong)}")


if __name__ == "__main__":
    main()

"""ImageFeatures as users call it: pictures in, features out, preprocessing included on both sides.

Throughput: uint8 arrays of 375 x 500 pixels, both cores, random weights from a safetensors file,
layer "pool", all contenders with batches of the same size. From files: the same for JPEG files of
that size, decoded on the way. A peer is onnxruntime, OpenVINO or PyTorch without the network's
head, fed by Pillow or OpenCV in threads, in the form that is fastest for this network
(`image_feature_peers.py`); all forms race first, and the best with either library is then measured
in turn with skdeep. Pillow's levels are skdeep's, bit for bit; OpenCV does not smooth before it
shrinks, which is cheaper and gives other pictures. Features are compared with PyTorch's in float64
on what each contender has prepared; where they are wrong there is no time. Start: a new process
that imports, reads the weights and gives features of one picture. Memory: the peak of a process
that extracts 10 000 files, minus what it has after its imports.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import common

NAME = "image_features"
TARGETS = {  # ratio to the best peer, arrays
    "vgg16": 2.2, "resnet18": 1.8, "resnet50": 1.3, "googlenet": 1.3, "squeezenet1_1": 1.3,
    "alexnet": 1.2, "mobilenet_v2": 1.3, "efficientnet_b0": 1.0, "densenet121": 1.0,
    "convnext_tiny": 1.0, "mobilenet_v3_large": 1.0, "vit_b_16": 1.0, "dinov2_vits14": 1.0,
}  # fmt: skip
FROM_FILES = ["resnet18", "resnet50", "mobilenet_v2"]
FILES_TARGET = 1.3
PARTS = ("throughput", "files", "start", "memory")
SIZE = (375, 500)
BATCH, THREADS = 16, 2
DISTINCT = 64  # pictures; longer lists repeat them
FILES = 256
SHOT = 0.8  # seconds of one measurement, at least
TOLERANCE = 5e-5  # largest relative error of the features, in the norm over all of them
MOST = 10_000  # pictures for the peak memory


# -- what is measured ----------------------------------------------------------------------------


def photographs(count):
    """Parts of two photographs, each with noise of its own."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    rng, (height, width) = np.random.default_rng(0), SIZE
    sources = load_sample_images().images
    pictures = np.empty((count, height, width, 3), np.uint8)
    for k, picture in enumerate(pictures):
        source = sources[k % 2]
        top, left = (int(rng.integers(a - b + 1)) for a, b in zip(source.shape, SIZE))
        part = source[top : top + height, left : left + width].astype(np.int16)
        picture[...] = np.clip(part + rng.integers(-4, 5, part.shape), 0, 255)
    return list(pictures)


def jpeg_files(folder, count):
    """Paths of JPEG files, written if they are not there."""
    import image_feature_peers

    paths = [Path(folder) / f"{k:04}.jpg" for k in range(count)]
    if not paths[-1].exists():
        for path, picture in zip(paths, photographs(count)):
            path.write_bytes(image_feature_peers.jpeg(picture))
    return [str(path) for path in paths]


def weights_file(network, folder):
    """The description of a network, its random weights, and a file that holds them."""
    import numpy as np
    from safetensors.numpy import save_file

    from skdeep.features import find_network, random_weights

    architecture = find_network(network)
    weights = random_weights(architecture.network(), seed=0)
    path = Path(folder) / f"{network}.safetensors"
    if not path.exists():
        state = architecture.to_torchvision(weights)
        save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, str(path))
    return architecture, weights, path


def relative_error(features, expected):
    """Norm of the difference over the norm of what is expected; infinite for another shape."""
    import numpy as np

    if features.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(features - expected) / np.linalg.norm(expected))


def throughput(case):
    """Seconds per picture of skdeep and of the best peers, alternately, and all errors.

    Returns
    -------
    dict
        "times": seconds per picture by contender, one per repetition; "race": seconds per picture
        of every peer, once; "errors": by contender; "wrong": contenders that got no time.
    """
    import image_feature_peers as peers

    from skdeep.features import ImageFeatures

    architecture, weights, path = weights_file(case["network"], case["folder"])
    features = ImageFeatures(weights=path, model=case["network"], batch_size=BATCH).fit()
    recipe = features.preprocessing_
    if case["files"]:
        pictures = jpeg_files(case["jpegs"], FILES)
    else:
        pictures = photographs(DISTINCT)
    contenders, errors, race = {common.SKDEEP: features.transform}, {}, {}
    made = peers.pipelines(architecture, weights, recipe, BATCH, THREADS, case["folder"])
    known = {}

    def check(name, run, preparer, pipeline):
        if preparer not in known:
            known[preparer] = peers.exact(architecture, weights, recipe, pipeline, pictures)
        found = run(pictures[:BATCH])[: peers.ROWS]
        if name != common.SKDEEP:
            found = peers.in_our_order(architecture, found)
        errors[name] = relative_error(found, known[preparer])
        return errors[name] <= TOLERANCE

    for name, build in made.items():
        pipeline = build("OpenCV")
        label = f"{name}, OpenCV"
        if check(label, pipeline, "OpenCV", pipeline):
            race[label] = min(per_picture(pipeline, pictures[: 2 * BATCH]) for _ in range(2))
    best = min(race, key=race.get)
    pipeline = made[best.removesuffix(", OpenCV")]("Pillow")
    label = best.replace("OpenCV", "Pillow")
    contenders[best] = made[best.removesuffix(", OpenCV")]("OpenCV")
    if check(common.SKDEEP, features.transform, "Pillow", pipeline):
        if check(label, pipeline, "Pillow", pipeline):
            contenders[label] = pipeline
        shots = {name: shot(run, pictures) for name, run in contenders.items()}
        times = common.alternate(shots, case["repetitions"], warm_up=False)
    else:
        times = {}
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE]
    return {"times": times, "race": race, "errors": errors, "wrong": wrong}


def per_picture(run, pictures):
    """Seconds per picture of one call."""
    return common.seconds(lambda: run(pictures)) / len(pictures)


def shot(run, pictures):
    """A function that gives seconds per picture, of one call long enough to count."""
    pace = per_picture(run, pictures[: 2 * BATCH])
    batches = max(2, round(SHOT / pace / BATCH))
    wanted = [pictures[k % len(pictures)] for k in range(batches * BATCH)]

    def timed():
        run(wanted[:BATCH])  # the caches and the thread pool are this contender's again
        return per_picture(run, wanted)

    return timed


SKDEEP_START = """
import sys, time
start = time.perf_counter()
import numpy as np
from skdeep.features import ImageFeatures
imported = time.perf_counter()
picture = np.random.RandomState(0).randint(0, 256, (1, 375, 500, 3), np.uint8)
begun = time.perf_counter()
features = ImageFeatures("resnet50", weights=sys.argv[1]).fit()
fitted = time.perf_counter()
features.transform(picture)
done = time.perf_counter()
features.transform(picture)
print(imported - start, fitted - begun, done - fitted, time.perf_counter() - done)
"""
ONNXRUNTIME_START = """
import sys, time
start = time.perf_counter()
import numpy as np, cv2, onnxruntime
imported = time.perf_counter()
x = np.zeros((1, 3, 224, 224), np.float32)
begun = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
read = time.perf_counter()
session.run(None, {"x": x})
done = time.perf_counter()
session.run(None, {"x": x})
print(imported - start, read - begun, done - read, time.perf_counter() - done)
"""
OPENVINO_START = """
import sys, time
start = time.perf_counter()
import numpy as np, cv2, openvino
imported = time.perf_counter()
x = np.zeros((1, 3, 224, 224), np.float32)
begun = time.perf_counter()
settings = {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
request = openvino.Core().compile_model(sys.argv[1], "CPU", settings).create_infer_request()
read = time.perf_counter()
request.infer([x])
done = time.perf_counter()
request.infer([x])
print(imported - start, read - begun, done - read, time.perf_counter() - done)
"""
STEPS = ["import", "read weights", "first features", "second features"]


def start(case):
    """Seconds of the steps of new processes, by contender, one dict per repetition."""
    import image_feature_peers as peers

    architecture, weights, path = weights_file("resnet50", case["folder"])
    onnx = peers.exported(architecture, weights, 1, case["folder"])
    scripts = {
        common.SKDEEP: (SKDEEP_START, path),
        "onnxruntime": (ONNXRUNTIME_START, onnx),
        "OpenVINO": (OPENVINO_START, onnx),
    }

    def run(script, file):
        command = [sys.executable, "-W", "ignore", "-c", script, str(file)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = dict(zip(STEPS, map(float, done.stdout.split()[-4:])))
        seconds["after import"] = seconds["read weights"] + seconds["first features"]
        return seconds

    contenders = {name: lambda pair=pair: run(*pair) for name, pair in scripts.items()}
    return common.alternate(contenders, case["repetitions"])


def memory(case):
    """MiB of this process after its imports, and at its peak, with the pictures per second."""
    import numpy as np
    from PIL import Image  # noqa: F401

    from skdeep import config_context
    from skdeep.features import ImageFeatures

    paths = jpeg_files(case["jpegs"], DISTINCT)
    wanted = [paths[k % len(paths)] for k in range(case["count"])]
    imported = in_status("VmRSS")
    with config_context(memory=case["memory"]):
        features = ImageFeatures("resnet50", weights=case["weights"]).fit()
        begun = time.perf_counter()
        out = features.transform(wanted)
        seconds = time.perf_counter() - begun
    assert np.isfinite(out).all()
    return {
        "imported": imported,
        "peak": in_status("VmHWM"),
        "weights": Path(case["weights"]).stat().st_size / 2**20,
        "features": out.nbytes / 2**20,
        "pace": len(wanted) / seconds,
    }


def in_status(what):
    """MiB of one entry of what the system knows of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


# -- processes and lines -------------------------------------------------------------------------


def in_process(function, case):
    """Result of ``function(case)``, computed in a new process."""
    command = [sys.executable, __file__, "--case", json.dumps({**case, "function": function})]
    environment = dict(os.environ)
    environment.update({v: str(THREADS) for v in common.THREAD_VARIABLES})
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True)
    if done.returncode:
        raise SystemExit(f"{function}: the process ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def run_case(text):
    """What the new process does."""
    case = json.loads(text)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    print(json.dumps(globals()[case["function"]](case)))


def throughput_lines(case, result):
    """skdeep beside the best peer with either library, the faster first."""
    times = dict(result["times"])
    own = times.pop(common.SKDEEP, None)
    target = FILES_TARGET if case["files"] else TARGETS.get(case["network"])
    title = f"{case['network']}, {'JPEG files' if case['files'] else 'arrays'}, batch {BATCH}"
    lines = []
    for peer in sorted(times, key=lambda name: statistics.median(times[name])):
        ratios = [p / o for p, o in zip(times[peer], own)]
        line = common.Comparison(
            title,
            "images/s",
            peer,
            1 / statistics.median(times[peer]),
            1 / statistics.median(own),
            statistics.median(ratios),
            min(ratios),
            max(ratios),
            "" if lines or not target else f"at least {target:g}x",
        )
        lines.append(line)
    return lines


def start_lines(measured):
    """The steps of a new process, and what they come to after the imports."""
    lines = []
    for step in [*STEPS, "after import"]:
        found = common.compare(f"start, resnet50: {step}", "s", measured, key=step)
        for line in found:
            if step == "after import":
                line.target = "under 0.5 s"
        lines += found
    return lines


def memory_lines(case, found):
    """Peak of a process, and what is in it."""
    title = f"memory, resnet50, {case['count']} files, memory={case['memory']!r}"
    above = found["peak"] - found["imported"]
    parts = {
        "after the imports": found["imported"],
        "peak": found["peak"],
        "peak above the imports": above,
        "peak above imports and result": above - found["features"],
    }
    lines = [
        common.Comparison(f"{title}: {what}", "MiB", "", float("nan"), value)
        for what, value in parts.items()
    ]
    limit = round(found["weights"] + 150e6 / 2**20)
    lines[-1].target = f"at most {limit} MiB: weights + 150 MB"
    return lines


def measured_part(part, options, folder):
    """Lines and details of one part."""
    count = options.repetitions or (2 if options.quick else 5)
    shared = {"folder": folder, "jpegs": folder, "repetitions": count}
    lines, details = [], []
    if part in ("throughput", "files"):
        known = FROM_FILES if part == "files" else list(TARGETS)
        if options.quick:
            known = ["squeezenet1_1" if part == "throughput" else "mobilenet_v2"]
        for network in options.network or known:
            with tempfile.TemporaryDirectory() as own:
                case = {**shared, "network": network, "files": part == "files", "folder": own}
                result = in_process("throughput", case)
            details.append({"network": network, "files": part == "files", **result})
            lines += shown(throughput_lines(case, result))
            for name in result["wrong"]:
                error = result["errors"][name]
                print(f"{name} is wrong: relative error {error:.2g}", file=sys.stderr)
    elif part == "start":
        lines += shown(start_lines(in_process("start", shared)))
    else:
        weights_file("resnet50", folder)
        for kind in ("fast", "low"):
            case = {
                **shared,
                "memory": kind,
                "count": options.pictures or (64 if options.quick else MOST),
                "weights": str(Path(folder) / "resnet50.safetensors"),
            }
            jpeg_files(folder, DISTINCT)
            found = in_process("memory", case)
            details.append({"memory": kind, "count": case["count"], **found})
            lines += shown(memory_lines(case, found))
    return lines, details


def shown(lines):
    """The lines, printed."""
    for line in lines:
        print("  ".join(common.cells(asdict(line))), flush=True)
    return lines


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one network of each part, few runs")
    parser.add_argument("--repetitions", type=int, help="paired runs that count")
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--network", nargs="+", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--pictures", type=int, help=f"for the memory; {MOST} unless told")
    parser.add_argument("--output", type=Path, help="file for the results")
    return parser.parse_args()


def joined(old, lines, details):
    """A part with its new lines and details, and what is known of networks not measured now."""
    new = {"rows": [asdict(line) for line in lines], "details": details}
    measured = {d["network"] for d in details if "network" in d}
    if not measured:
        return new
    order = list(TARGETS)
    rows = [r for r in old["rows"] if r["what"].partition(",")[0] not in measured] + new["rows"]
    more = [d for d in old["details"] if d["network"] not in measured] + details
    return {
        "rows": sorted(rows, key=lambda r: order.index(r["what"].partition(",")[0])),
        "details": sorted(more, key=lambda d: order.index(d["network"])),
    }


def main():
    """Measure the parts, print each line as it is done, write the results after each part.

    Parts, and networks, that are not measured now stay in the file as they are.
    """
    options = arguments()
    if options.case:
        return run_case(options.case)
    path = options.output or common.RESULTS / f"{NAME}{'-quick' if options.quick else ''}.json"
    path.parent.mkdir(exist_ok=True)
    found = json.loads(path.read_text())["parts"] if path.exists() else {}
    for part in options.part:
        print(part, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            lines, details = measured_part(part, options, folder)
        found[part] = joined(found.get(part, {"rows": [], "details": []}), lines, details)
        record = {
            "benchmark": NAME,
            "title": " ".join(__doc__.split()),
            "date": datetime.date.today().isoformat(),
            "threads": THREADS,
            "repetitions": options.repetitions or (2 if options.quick else 5),
            "quick": options.quick,
            "machine": common.machine(),
            "versions": common.versions(),
            "rows": [row for p in PARTS if p in found for row in found[p]["rows"]],
            "parts": {p: found[p] for p in PARTS if p in found},
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
    print(common.text_table(record))
    wrong = [
        d["network"]
        for part in found.values()
        for d in part["details"]
        if common.SKDEEP in d.get("wrong", ())
    ]
    if wrong:
        raise SystemExit(f"skdeep's features are wrong for {'; '.join(wrong)}")


if __name__ == "__main__":
    main()

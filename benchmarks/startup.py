"""A new process that imports, fits and predicts on iris; first uses ever, with an empty cache."""

import os
import subprocess
import sys
import tempfile

import common

IRIS = """
from sklearn.datasets import load_iris
from {module} import MLPClassifier
X, y = load_iris(return_X_y=True)
net = MLPClassifier(max_iter=200, tol=0, n_iter_no_change=1000, random_state=0)
net.fit(X, y)
net.predict(X)
"""
CONVOLUTIONAL = """
from sklearn.datasets import load_digits
from skdeep import NeuralNetClassifier
from skdeep.layers import Conv2D, Dense, Dropout, MaxPool2D
X, y = load_digits(return_X_y=True)
net = NeuralNetClassifier(
    [Conv2D(16, 3, activation="relu"), MaxPool2D(2), Dense(64, activation="relu"), Dropout(0.25)],
    input_shape=(8, 8, 1), max_epochs=2, random_state=0)
net.fit(X / 16, y)
net.predict(X / 16)
"""
RESNET = """
import networks
architecture, weights, images = networks.prepare({"network": "resnet50", "batch": 1})
networks.skdeep_runner(architecture, weights, images, 2, "float32")[0]()
"""


def process(code, cache=None):
    """Seconds of a new interpreter that runs ``code``, and what it wrote to the error stream."""
    environment = dict(os.environ)
    folder = os.path.dirname(os.path.abspath(__file__))
    environment["PYTHONPATH"] = os.pathsep.join([folder, environment.get("PYTHONPATH", "")])
    if cache:
        environment["NUMBA_CACHE_DIR"] = cache
    output = []

    def run():
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        output.append(done.stderr + done.stdout)

    return common.seconds(run), output[0]


def measure(context):
    scripts = {
        "scikit-learn": IRIS.format(module="sklearn.neural_network"),
        common.SKDEEP: IRIS.format(module="skdeep"),
    }
    contenders = {n: lambda s=s: process(s)[0] for n, s in context.wanted(scripts).items()}
    measured = common.alternate(contenders, context.repetitions)
    lines = common.compare("import, fit, predict on iris, warm cache", "s", measured)
    for line in lines:
        line.target = "at most 0.3 s more"
    if common.SKDEEP not in measured:
        return lines
    firsts = [
        ("fit of an MLP", scripts[common.SKDEEP], 10),
        ("fit of a convolutional net", CONVOLUTIONAL, 20),
        ("prediction of ResNet-50, its weights drawn", RESNET, 15),
    ]
    for what, script, limit in firsts:
        times, again, said = [], [], ""
        for _ in range(1 if context.quick else 3):
            with tempfile.TemporaryDirectory() as empty:
                seconds, said = process(script, empty)
                again.append(process(script, empty)[0])
            times.append(seconds)
        print(f"  first {what} says: {' '.join(said.split())!r}", file=sys.stderr)
        first = common.compare(f"first {what} ever, empty cache", "s", {common.SKDEEP: times})
        first[0].target = f"under {limit} s"
        lines += first
        lines += common.compare(f"{what} in the next process", "s", {common.SKDEEP: again})
    return lines


if __name__ == "__main__":
    common.main("startup", __doc__, measure)

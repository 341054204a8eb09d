"""Points of known networks against PyTorch's values, recorded by ``record_networks.py``."""

import numpy as np
import pytest
from recorded import SHAPES
from recorded_networks import FOLDER, sample, small_case

from skdeep.features.networks import NETWORKS
from skdeep.kernels.cpu import CPU
from skdeep.training.data import Data
from skdeep.training.inference import Predictor
from skdeep.training.weights import Weights, place

# Not torchvision's: compared with plain twins in test_caffe_networks.py.
CAFFE = {"bvlc_alexnet", "bvlc_googlenet", "caffenet", "overfeat_large", "overfeat_small"}
RECORDED = sorted(NETWORKS.keys() - SHAPES - CAFFE)
TOLERANCE = 1e-4  # of a layer's largest value


def predicted(architecture, weights, images):
    """What a predictor gives at all points."""
    network, device = architecture.network(), CPU()
    data = Data(images.reshape(len(images), -1), architecture.input_shape)
    placed = Weights(device, {k: place(device, v) for k, v in network.gather(weights).items()})

    def build(output, trace, y):
        return [trace.activations[layer] for _, layer in architecture.points]

    values = Predictor(network, build, data, placed, len(images)).run(data, 2)
    return dict(zip(dict(architecture.points), values))


@pytest.mark.parametrize("name", RECORDED)
def test_points_agree_with_pytorch(name):
    architecture, weights, images = small_case(name)
    recorded = np.load(FOLDER / f"{name}.npz")
    drawn = [w.reshape(-1)[-1] for w in weights.values()][:4]
    np.testing.assert_array_equal(drawn, recorded["weights"], "NumPy draws other random numbers")
    values = predicted(architecture, weights, images)
    shapes = np.concatenate([array.shape for array in values.values()])
    np.testing.assert_array_equal(shapes, recorded["shapes"])
    for point, largest, theirs in zip(values, recorded["largest"], recorded["values"], strict=True):
        assert np.abs(values[point]).max() == pytest.approx(largest, rel=TOLERANCE), point
        error = np.abs(sample(values[point]) - theirs).max() / largest
        assert error < TOLERANCE, f"{point}: off by {error:.2g} of the largest"
        assert largest > 1e-3 and np.std(theirs) > 1e-3 * largest, point
    for ours, theirs in zip(values[list(values)[-1]], recorded["logits"], strict=True):
        order = np.argsort(theirs)
        clear = np.diff(theirs[order]) > 4 * TOLERANCE * np.abs(theirs).max()
        assert clear.mean() > 0.5
        assert (np.diff(ours[order])[clear] > 0).all()


def test_what_is_recorded():
    """Small files, none of a network that there isn't."""
    files = {path.stem: path.stat().st_size for path in FOLDER.glob("*.npz")}
    assert files.keys() - {"names", "positions"} == NETWORKS.keys() - CAFFE
    assert max(files[name] for name in RECORDED) < 10_000

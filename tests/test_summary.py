"""What `summary()` tells of a network."""

import numpy as np
import pytest

from skdeep import NeuralNetClassifier
from skdeep.layers import BatchNorm, Conv2D, Flatten, MaxPool2D, Residual


def fitted(**conv):
    rng = np.random.RandomState(0)
    X, y = rng.rand(12, 24, 24, 16).astype(np.float32), np.arange(12) % 3
    layers = [
        ("conv", Conv2D(32, 3, padding="same", use_bias=False, **conv)),
        ("norm", BatchNorm()),
        ("block", Residual([Conv2D(32, 1)], activation="relu")),
        ("pool", MaxPool2D(2)),
        Flatten(),
    ]
    return NeuralNetClassifier(layers, max_epochs=1, random_state=0).fit(X, y), X


def test_rows_tell_what_runs():
    net, _ = fitted()
    summary = net.summary(n_samples=4)
    names = [row.layer for row in summary.rows]
    assert names == ["conv", "block.conv2d1", "pool", "head"]  # norm and activation are fused
    conv, block, pool, out = summary.rows
    assert conv.operation == "Conv2D 3x3" and block.operation == "Conv2D 1x1 + add + relu"
    assert pool.operation == "MaxPool2D 2x2 / 2" and out.operation == "Dense"
    assert conv.shape == (24, 24, 32) and pool.shape == (12, 12, 32) and out.shape == (3,)
    assert conv.multiply_adds == 24 * 24 * 32 * 9 * 16 and pool.multiply_adds == 0
    assert out.multiply_adds == 12 * 12 * 32 * 3
    assert conv.parameters == 9 * 16 * 32 + 4 * 32 and block.parameters == 32 * 32 + 32
    total = sum(row.parameters for row in summary.rows)
    assert total == sum(w.size for w in net.weights_.values())
    assert summary.batch == 4 and summary.weight_bytes >= 4 * total
    assert conv.packed_bytes > 4 * 9 * 16 * 32
    assert 1 <= summary.overhead <= 1.2


def test_the_algorithm_is_named_and_can_be_chosen():
    automatic, X = fitted()
    assert automatic.summary().rows[0].algorithm == "winograd4"
    results = {}
    for algorithm in ("direct", "winograd2", "winograd4"):
        net, _ = fitted(algorithm=algorithm)
        assert net.summary().rows[0].algorithm == algorithm
        results[algorithm] = net.set_params(conv__algorithm=algorithm).predict_proba(X)
    assert automatic.predict_proba(X).tobytes() == results["winograd4"].tobytes()
    np.testing.assert_allclose(results["direct"], results["winograd4"], rtol=1e-3)
    packed = [fitted(algorithm=a)[0].summary().rows[0].packed_bytes for a in results]
    assert packed[0] < packed[1] < packed[2] and packed[2] > 3 * packed[0]
    with pytest.raises(ValueError, match="algorithm"):
        fitted(algorithm="fft")


def test_it_reads_well():
    net, _ = fitted()
    text = repr(net.summary())
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["layer", "operation"]
    assert "alive at once" in lines[-1] and "winograd4" in text
    html = net.summary()._repr_html_()
    assert html.count("<tr>") == 1 + len(net.summary().rows) and "<table>" in html

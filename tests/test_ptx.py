"""Every CUDA twin becomes GPU assembly, without a GPU, and computes in float32 alone."""

import re

import pytest

import skdeep.ops  # noqa: F401  (registers kernels and twins)
from skdeep.kernels import _numba_cuda
from skdeep.kernels.cuda import CUDA, TWINS

pytestmark = pytest.mark.ptx


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids="sm_{0[0]}{0[1]}".format)
@pytest.mark.parametrize("name", TWINS)
def test_assembly(name, capability):
    text = _numba_cuda.ptx(name, capability)
    assert ".target sm_{}{}".format(*capability) in text
    assert re.search(r"\bst\.global\.[\w.]*[fubs]32\b", text), "the twin writes nothing"
    double = re.findall(r".*\.f64\b.*", text)
    assert not double, f"float64 in {name}: {double[:3]}"


def test_message_without_a_gpu(monkeypatch):
    monkeypatch.setattr(_numba_cuda.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no CUDA GPU was found; use device='cpu'"):
        CUDA()

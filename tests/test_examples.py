"""Every example runs, says something and draws something."""

import re
import runpy
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="the examples draw with matplotlib")

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*/plot_*.py"))


@pytest.fixture
def pyplot(monkeypatch):
    """pyplot that draws nowhere; counts the figures when an example shows them."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = []

    def show():
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            shown.append(number)

    monkeypatch.setattr(plt, "show", show)
    yield shown
    plt.close("all")


def test_there_are_examples():
    assert len(EXAMPLES) >= 6
    for folder in {path.parent for path in EXAMPLES} | {FOLDER}:
        assert (folder / "README.rst").exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_example(path, pyplot, capsys):
    title, underline = path.read_text(encoding="utf-8").splitlines()[1:3]
    assert re.fullmatch("=+", underline) and len(underline) == len(title)
    runpy.run_path(str(path), run_name="__main__")
    assert pyplot
    assert capsys.readouterr().out.strip()

"""The Python in the guide and in the how-to pages runs.

Blocks of a page run one after another, in one namespace that has data in it. A block that follows a
line such as "`skdeep/ops/softsign.py`:" is that file.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.base import clone

from skdeep.formats import FormatError, read_weights, sniff
from skdeep.formats.table import FORMATS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = [DOCS / "user_guide.md", DOCS / "images.md", *sorted((DOCS / "howto").glob("*.md"))]
BLOCK = re.compile(r"(?:^`([\w/]+\.py)`:[^\n]*\n\n)?^```python\n(.*?)^```$", re.M | re.S)


def blocks(page):
    """(name of the file or "", source) of the Python blocks of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


RUN_AS_THEY_ARE = [
    p for p in PAGES if blocks(p) and not any(file for file, _ in blocks(p)) and p.stem != "images"
]


def test_no_block_is_overlooked():
    for page in PAGES:
        assert len(blocks(page)) == page.read_text(encoding="utf-8").count("```python"), page
    assert sum(len(blocks(page)) for page in PAGES) >= 8


@pytest.mark.parametrize("page", RUN_AS_THEY_ARE, ids=lambda page: page.stem)
def test_page(page, digits):
    X, y = digits
    names = {"X": X[:96], "y": y[:96], "X_val": X[200:], "y_val": y[200:]}
    with sklearn.config_context():  # a page may set options
        for _, source in blocks(page):
            exec(compile(source, str(page), "exec"), names)
        net = clone(names["net"]).set_params(max_epochs=2, random_state=0).fit(X, y)
    assert net.predict(X).shape == y.shape


def test_page_on_pictures(tmp_path, monkeypatch):
    """Its estimators fit with random weights, as published ones are not at hand."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for _, source in blocks(DOCS / "images.md"):
        exec(compile(source, "images.md", "exec"), names)
    rng = np.random.RandomState(0)
    X, y = [rng.randint(0, 256, (64, 64, 3), np.uint8) for _ in range(8)], [0, 1] * 4
    small = {"model": "squeezenet1_1", "weights": "random"}
    search = names["search"].set_params(
        cv=2,
        estimator__imagefeatures=names["features"].set_params(**small),
        param_grid=names["search"].param_grid | {"imagefeatures__model": ["squeezenet1_1"]},
    )
    assert len(search.fit(X, y).cv_results_["params"]) == 6
    assert Path("features-of-my-pictures").is_dir()
    assert names["model"].set_params(imagefeatures=names["features"]).fit(X, y).predict(X).shape
    assert names["classifier"].set_params(**small).predict(X).shape == (8,)
    assert names["patches"].set_params(patchfeatures__n_patches=20).fit(X, y).score(X, y) == 1
    names["baselines"]["random network"].set_params(model="squeezenet1_1")
    for features in names["baselines"].values():
        assert len(features.fit_transform(X)) == 8
    recipe = {"preprocessing": names["Preprocessing"](32, 32), **small}
    names["tuned"].set_params(
        imageloader=names["tuned"][0].set_params(**recipe),
        neuralnetclassifier__layers=names["network"](**small, layer="stage1"),
        neuralnetclassifier__max_epochs=1,
    )
    assert names["tuned"].fit(X, y).predict(X).shape == (8,)


def test_page_on_formats(tmp_path, monkeypatch):
    """The reader of the page, put into the table, reads its file and refuses another."""
    ((_, source),) = blocks(DOCS / "howto" / "format.md")
    names = {}
    exec(compile(source, "format.md", "exec"), names)
    monkeypatch.setitem(FORMATS, "lists", (names["recognise"], names["read"]))
    path = tmp_path / "net"
    path.write_bytes(b'WEIGHTS1{"fc.bias": [1, 2]}')
    assert sniff(path) == "lists"
    assert read_weights(path).tensors["fc.bias"].tolist() == [1, 2]
    for damaged in (
        b"WEIGHTS1[1]",
        b"WEIGHTS1{",
        b'WEIGHTS1{"a": ["b"]}',
        b"WEIGHTS1" + b"[" * 9999,
    ):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="no lists of numbers"):
            read_weights(path)


ADD_OPERATION = """
import importlib, sys
from skdeep import ops
from skdeep.kernels import compiler

compiler._write = lambda *arguments: None  # code of these kernels is nobody's to keep
for room in ("kernels", "ops"):
    importlib.import_module(f"skdeep.{{room}}").__path__.append(f"{folder}/skdeep/{{room}}")
ops.softsign = importlib.import_module("skdeep.ops.softsign").softsign
sys.path += [{tests!r}, "{folder}/tests"]
import test_softsign
test_softsign.test_softsign()
"""


def test_page_on_operations(tmp_path, run_python):
    """The files of the page, put beside those of the package, pass their own test."""
    files = dict(blocks(DOCS / "howto" / "op.md"))
    assert len(files) == 3
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    run_python(ADD_OPERATION.format(folder=tmp_path.as_posix(), tests=str(Path(__file__).parent)))


def test_the_page_of_kernels_lists_them_all():
    from skdeep.cli.warmup import compilable

    lines = (DOCS / "kernels.md").read_text().splitlines()
    listed = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert listed == set(compilable()), "run benchmarks/kernels.py"

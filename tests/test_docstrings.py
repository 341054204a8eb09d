"""What is public says what it takes, what it gives, and shows it."""

import importlib
import inspect
import re

import pytest

MODULES = (
    "skdeep",
    "skdeep.datasets",
    "skdeep.features",
    "skdeep.formats",
    "skdeep.layers",
    "skdeep.ops",
    "skdeep.training",
)


PUBLIC = [(module, name) for module in MODULES for name in importlib.import_module(module).__all__]


def sections(value):
    """Bodies of the sections of a numpydoc docstring, by title."""
    parts = re.split(r"^(\w[\w ]*)\n(-+)\n", inspect.getdoc(value) or "", flags=re.M)
    titles, underlines, bodies = parts[1::3], parts[2::3], parts[3::3]
    assert [len(title) for title in titles] == [len(line) for line in underlines]
    return dict(zip(titles, bodies))


def takes(value):
    """Names of the parameters of a function or class; exceptions take a message."""
    if inspect.isclass(value) and issubclass(value, Exception):
        return []
    return [
        p.name
        for p in inspect.signature(value).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def described(body):
    """Names that a section of parameters describes."""
    lines = [line for line in body.splitlines() if line and not line.startswith(" ")]
    names = [name.strip() for line in lines for name in line.split(" : ")[0].split(",")]
    return [name for name in names if not name.startswith("*")]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_summary_is_one_line(module, name):
    lines = inspect.getdoc(getattr(importlib.import_module(module), name)).splitlines()
    assert lines[0].endswith(".")
    assert len(lines) == 1 or not lines[1]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_parameters_are_described_in_order(module, name):
    value = getattr(importlib.import_module(module), name)
    assert described(sections(value).get("Parameters", "")) == takes(value)


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_results_are_described(module, name):
    """Of functions; unless they return nothing."""
    value = getattr(importlib.import_module(module), name)
    if inspect.isfunction(value) and re.search(r"^\s+return\s+\S", inspect.getsource(value), re.M):
        assert sections(value).get("Returns", "").strip()


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_examples_run_something(module, name):
    """That they give what they show is checked where doctests run."""
    value = getattr(importlib.import_module(module), name)
    assert ">>> " in sections(value).get("Examples", "")

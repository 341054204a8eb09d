"""The rules of the house: which room imports which, what is public, and that it is all tested."""

import ast
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import skdeep
import skdeep.ops  # fills OPS
from skdeep.graph import OPS

PACKAGE = Path(skdeep.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent  # of the source, wherever the package is installed
ROOMS = ("datasets", "estimators", "features", "formats", "graph", "layers", "ops", "training")

# What each room may import besides itself. Operations are nodes of the graph and bring their
# kernels; the graph compiles to a program, which is a table of kernels; so "graph" and "ops" both
# stand on "kernels", and "ops" on the graph's node and tensor alone.
MAY_IMPORT = {
    "kernels": set(),
    "ops": {"kernels", "graph.op", "graph.tensor"},
    "graph": {"kernels"},
    "layers": {"ops", "graph", "_validation"},
    "training": {"ops", "graph", "layers", "_validation", "_warnings"},
    "estimators": {
        "ops",
        "graph",
        "layers",
        "training",
        "kernels.cpu",
        "kernels.cuda",
        "_config",
        "_validation",
        "_warnings",
        "skdeep",
    },
    "features": {
        "formats",
        "ops",
        "graph",
        "layers",
        "training",
        "kernels",
        "estimators",
        "_config",
        "_validation",
        "_warnings",
        "skdeep",
    },
    "formats": set(),
    "datasets": {"kernels", "_config", "_validation"},
    "cli": {
        "datasets",
        "estimators",
        "features",
        "layers",
        "training",
        "kernels",
        "_config",
        "_versions",
        "skdeep",
    },
    "_versions": {"kernels", "_config", "skdeep"},
    "_config": set(),
    "_validation": set(),
    "_warnings": set(),
    "__init__": {"_config"},
    "__main__": {"cli"},
}
FOREIGN = {
    "kernels": {"numba", "llvmlite", "numpy"},
    "graph": {"numpy"},
    "ops": {"numpy"},
    "layers": {"numpy", "sklearn"},
    "training": {"numpy", "scipy", "sklearn", "tqdm"},
    "estimators": {"numpy", "scipy", "sklearn"},
    "features": {"numpy", "scipy", "sklearn", "joblib", "PIL", "tqdm"},
    "formats": {"numpy"},
    "datasets": {"numpy"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    """Parts of a module's name below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports(path):
    """Full names of the modules that a file imports, relative ones resolved."""
    folder = ("skdeep", *path.relative_to(PACKAGE).parts[:-1])
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                is_module = stem.startswith("skdeep") and names_module(f"{stem}.{alias.name}")
                yield f"{stem}.{alias.name}" if is_module else stem


def names_module(name):
    """Whether a dotted name below the package is a file or a folder."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def test_rules_cover_every_room():
    rooms = {dotted(path)[0] for path in SOURCES}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    room = dotted(path)[0]
    allowed = MAY_IMPORT[room] | {room}
    for name in imports(path):
        if name == "skdeep" or name.startswith("skdeep."):
            inner = name.removeprefix("skdeep").lstrip(".") or "skdeep"
            fits = any(inner == a or inner.startswith(f"{a}.") for a in allowed)
            assert fits, f"{room} must not import {name}"
        elif room in FOREIGN:
            top = name.split(".")[0]
            assert top in FOREIGN[room] | sys.stdlib_module_names, f"{room} must not import {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) < 700


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_say_what_they_are_for_and_leave_nothing_open(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)) or not text.strip()
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)


def families(room):
    """Modules of a room."""
    package = importlib.import_module(f"skdeep.{room}")
    return [
        importlib.import_module(f"skdeep.{room}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_and_have_words(room):
    package = importlib.import_module(f"skdeep.{room}")
    assert sorted(set(package.__all__)) == sorted(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value):
            assert value.__doc__ and value.__doc__.strip(), name
            assert value.__module__.startswith("skdeep."), name


@pytest.mark.parametrize("room", ["layers", "ops", "training"])
def test_rooms_gather_what_their_families_publish(room):
    published = {name for family in families(room) for name in getattr(family, "__all__", ())}
    assert set(importlib.import_module(f"skdeep.{room}").__all__) == published


def test_a_family_has_one_name_in_every_room():
    kernels = {f.__name__.rsplit(".", 1)[1] for f in families("kernels")}
    for family in families("ops"):
        name = family.__name__.rsplit(".", 1)[1]
        if any(op.__module__ == family.__name__ and op.rows is not None for op in OPS.values()):
            assert name in kernels, f"ops/{name}.py has operations but kernels/{name}.py is missing"


def documented():
    """Public names by module, as docs/api.rst lists them."""
    found, module, listing = {}, None, False
    for line in (ROOT / "docs" / "api.rst").read_text().splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif line.startswith(".. "):
            listing = line.startswith(".. autosummary::")
            if line.startswith(".. automodule::"):
                found[line.split("::")[1].strip()] = None  # all of it
        elif listing and line.startswith("   ") and not line.strip().startswith(":"):
            found.setdefault(module, set()).add(line.strip())
        elif line and not line.startswith(" "):
            listing = False
    return found


@pytest.mark.parametrize(
    "module",
    [
        "skdeep",
        "skdeep.datasets",
        "skdeep.features",
        "skdeep.formats",
        "skdeep.layers",
        "skdeep.training",
        "skdeep.ops",
    ],
)
def test_documentation_lists_what_is_public(module):
    names = documented()[module]
    if names is not None:
        assert names == set(importlib.import_module(module).__all__)


def test_top_level_names_come_from_the_rooms():
    for name in skdeep.__all__:
        assert getattr(skdeep, name) is not None
    estimators = importlib.import_module("skdeep.estimators")
    assert set(estimators.__all__) <= set(skdeep.__all__)
    for room in ROOMS:
        assert getattr(skdeep, room) is importlib.import_module(f"skdeep.{room}")


def words(*paths):
    """Every name that occurs in test files."""
    return set(re.findall(r"\w+", "\n".join(path.read_text() for path in paths)))


# What tests call the operations that no function of skdeep.ops is named after.
TESTED_AS = {
    "AdamUpdate": "AdamW",
    "ClipScale": "clip_norm",
    "DepthwiseGradW": "DepthwiseConv2D",
    "LoadRows": "predict",
    "LossTotal": "train_loss",
    "MomentumUpdate": "nesterov",
    "NormalizeWeights": "sample_weight",
    "Penalty": "l2",
    "RMSpropUpdate": "RMSprop",
    "SoftLogLoss": "softmax_log_loss",
    "StoreRows": "predict",
    "WhereOther": "where",
}


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_operation_is_tested(name):
    """A test mentions it, its function, or what it is the gradient of."""
    forward = re.sub(r"Grad\w*$", "", name)
    function = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", forward).lower()
    assert words(*TESTS.glob("test_*.py")) & {
        name,
        forward,
        function,
        TESTED_AS.get(name),
        TESTED_AS.get(forward),
    }


def test_generic_checks_cover_every_class():
    """Layers, losses, optimizers, schedules and callbacks are those that the generic tests list."""
    from skdeep import layers, training

    source = {
        layers: words(TESTS / "test_layers.py"),
        training: words(TESTS / "test_training.py", TESTS / "test_callbacks.py"),
    }
    for module, mentioned in source.items():
        for name in module.__all__:
            assert issubclass(getattr(module, name), BaseEstimator)
            assert name in mentioned, name

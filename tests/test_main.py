"""``python -m skdeep``: its commands, its messages, its pictures."""

import hashlib
import os
import pkgutil
import re
import signal
import subprocess
import sys
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from importlib import import_module
from xml.etree import ElementTree

import numpy as np
import pytest

import skdeep.kernels
from skdeep.cli import COMMANDS, children_ignore_interrupt, default_jobs, digits, main, warmup
from skdeep.cli.svg import confusion_matrix_chart, line_chart, linear_ticks, log_ticks
from skdeep.kernels import compiler

SVG = "{http://www.w3.org/2000/svg}"


def texts(root):
    return [t.text for t in root.iter(f"{SVG}text")]


def numbers_inside(root):
    """Whether everything that is drawn lies on the paper."""
    width, height = (float(root.get(k)) for k in ("width", "height"))
    xs, ys = [], []
    for item in root.iter():
        xs += [float(item.get(k)) for k in ("x", "x1", "x2") if item.get(k)]
        ys += [float(item.get(k)) for k in ("y", "y1", "y2") if item.get(k)]
        for pair in item.get("points", "").split():
            x, y = map(float, pair.split(","))
            xs.append(x)
            ys.append(y)
    return 0 <= min(xs) and max(xs) <= width and 0 <= min(ys) and max(ys) <= height


# -- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [[2.0, 1.0, 0.1, 0.02], [1.0], [3.0, 3.0], [1e-7, 5e3], [np.nan, 1.0, np.inf, 0.5]]
)
def test_line_chart_draws_each_line_on_the_paper(values, log):
    text = line_chart(
        {"a < b & c": values, "other": [0.5, 0.6]}, title="T & t", x_label="x", y_label="y", log=log
    )
    root = ElementTree.fromstring(text)
    assert numbers_inside(root)
    assert {"a < b & c", "other", "T & t", "x", "y"} <= set(texts(root))
    curves = [p for p in root.iter(f"{SVG}polyline") if p.get("stroke-linejoin")]
    assert [len(p.get("points").split()) for p in curves] == [int(np.isfinite(values).sum()), 2]
    assert len({p.get("stroke") for p in curves}) == 2
    assert "prefers-color-scheme: dark" in text


def test_line_chart_places_values_by_their_size():
    def heights(log):
        text = line_chart({"a": [1.0, 0.1, 0.01]}, title="", x_label="", y_label="", log=log)
        points = re.search(r'points="(\S+ \S+ \S+)"[^>]*linejoin', text).group(1).split()
        return [float(p.split(",")[1]) for p in points]

    first, second, third = heights(log=True)
    assert third - second == pytest.approx(second - first, abs=0.2)
    first, second, third = heights(log=False)
    assert (second - first) / (third - second) == pytest.approx(10, rel=0.05)


def test_line_chart_refuses_to_draw_nothing():
    with pytest.raises(ValueError, match="at least one finite value"):
        line_chart({"a": [np.nan]}, title="", x_label="", y_label="")


@pytest.mark.parametrize("low, high", [(0, 1), (-3, 8), (1e-9, 3e-9), (5, 1e7), (0.31, 0.32)])
def test_linear_ticks_are_round_and_few(low, high):
    ticks = linear_ticks(low, high)
    assert 3 <= len(ticks) <= 10
    assert low - 1e-12 <= ticks[0] and ticks[-1] <= high * (1 + 1e-9)
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_log_ticks_span_many_powers():
    assert log_ticks(1e-6, 10) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10]


def test_confusion_matrix_shows_counts_and_marks_mistakes():
    counts = [[9, 1, 0], [0, 8, 0], [2, 0, 7]]
    root = ElementTree.fromstring(confusion_matrix_chart(counts, ["a", "b", "<c>"], title="T"))
    assert numbers_inside(root)
    assert [t for t in texts(root) if t.isdigit()] == ["9", "1", "8", "2", "7"]
    assert texts(root).count("<c>") == 2
    cells = [c for c in root.iter(f"{SVG}rect") if c.get("class") == "cell"]
    shade = np.array([float(c.get("fill-opacity")) for c in cells]).reshape(3, 3)
    assert ((shade > 0) == (np.array(counts) > 0)).all()
    assert shade[2, 0] > shade[0, 1]
    assert {c.get("fill") for c in cells[::4]}.isdisjoint({c.get("fill") for c in cells[1:4]})


# -- command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["wramup"], "unknown command 'wramup'; did you mean 'warmup'?"),
        (
            ["zzz"],
            "unknown command 'zzz'; There are digits, features, pictures, fetch, versions, warmup",
        ),
        (["versions", "--quick"], "--quick does not go with 'versions'"),
        (["warmup", "--output", "x"], "--output does not go with 'warmup', only with digits"),
        (["--n-jobs", "0"], "neither positive nor -1"),
        (["--seed", "-1"], "not in 0 .. 2"),
        (["--seed", "abc"], "--seed"),
    ],
)
def test_wrong_command_lines_say_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\w", shown, re.MULTILINE) for name in COMMANDS)


def test_versions(capsys):
    assert main(["versions"]) == 0
    assert {"skdeep", "numba", "kernel", "instruction"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines()
    }


def test_default_jobs():
    assert 1 <= default_jobs(None) <= 4
    assert default_jobs(3) == 3
    assert default_jobs(-1) >= 1


def test_unwritable_folder_is_found_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(digits, "run", lambda *a, **k: pytest.fail("the work began"))
    assert main(["--output", str(tmp_path / "file")]) == 2
    shown = capsys.readouterr().err
    assert "cannot write" in shown and "--output FOLDER" in shown and str(tmp_path) in shown


# -- the main job -------------------------------------------------------------------------------


def check_outcome(shown, folder):
    rows = [line for line in shown.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert len(rows) == len(digits.contenders())
    for row in rows:
        accuracy, loss, fit, search, fits = row.split()[-5:]
        assert 0.9 < float(accuracy) <= 1
        assert 0 < float(loss) < 0.5
        assert 0 <= float(fit) <= float(search)
        assert int(fits) > 1
    assert sorted(p.name for p in folder.iterdir()) == sorted([digits.CURVE, digits.MATRIX])
    for name in (digits.CURVE, digits.MATRIX):
        ElementTree.fromstring((folder / name).read_text(encoding="utf-8"))
        assert f"wrote {folder / name}" in shown


def test_digits(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert main(["--quick", "--n-jobs", "1", "--output", str(folder)]) == 0
    check_outcome(capsys.readouterr().out, folder)


def test_digits_in_processes_of_its_own(tmp_path):
    command = [sys.executable, "-m", "skdeep", "digits", "--quick", "--seed", "3", "--n-jobs", "2"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=True
    )
    check_outcome(done.stdout, tmp_path)
    unexpected = [s for s in done.stderr.splitlines() if not s.startswith("skdeep: compiling")]
    assert unexpected == []


@pytest.mark.parametrize("quick", [False, True])
def test_grids_fit_their_models(quick):
    for contender in digits.contenders(quick):
        grid = list(digits.ParameterGrid(contender.grid))
        assert len(grid) == contender.candidates > 1
        for parameters in grid:
            contender.pipeline.set_params(**parameters)


# -- Ctrl-C -------------------------------------------------------------------------------------


def test_interrupt_ends_the_job_and_not_only_a_fit(monkeypatch, capsys):
    from skdeep.training import Callback

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)

    def run(folder, **kwargs):
        model = digits.contenders(quick=True)[0].model.set_params(callbacks=[Interrupt()])
        model.fit(np.zeros((4, 64)), [0, 1, 2, 3])
        pytest.fail("went on after the interrupt")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(digits, "run", run)
    assert main([]) == 130
    assert "Interrupted." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signal masks")
def test_children_ignore_interrupts():
    child = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"

    def run():
        return subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)

    with children_ignore_interrupt():
        done = run()
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert run().returncode != 0


# -- warmup -------------------------------------------------------------------------------------


def run_warmup(names, jobs, folder):
    code = (
        f"import sys\nfrom skdeep.cli.warmup import warmup\nsys.exit(warmup({jobs}, {names!r}))\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_warmup_compiles_what_is_missing(jobs, tmp_path):
    code, shown, _ = run_warmup(["add", "relu"], jobs, tmp_path)
    assert code == 0
    assert len(re.findall(r"^  \[[12]/2\] (?:add|relu) +\d+\.\d+ s$", shown, re.MULTILINE)) == 2
    assert re.search(r"Compiled 2 kernels in \d+\.\d s", shown)
    assert sorted(p.stem for p in tmp_path.rglob("*") if p.is_file()) == ["add", "relu"]
    code, shown, errors = run_warmup(["add", "relu", "run_serial", "unknown"], jobs, tmp_path)
    assert code == 1
    assert "[1/2]" in shown and "run_serial" in shown and "relu" not in shown
    assert "KeyError" in shown and "1 did not compile: unknown" in errors
    code, shown, _ = run_warmup(["add", "run_serial"], jobs, tmp_path)
    assert code == 0 and "compiled already" in shown


def test_warmup_without_a_writable_folder(monkeypatch, capsys):
    monkeypatch.setattr(compiler, "cache_directory", lambda: None)
    assert main(["warmup"]) == 1
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().err


def test_warmup_knows_every_kernel():
    known = set(warmup.compilable())
    for module in pkgutil.iter_modules(skdeep.kernels.__path__):
        if "cuda" not in module.name:
            import_module(f"skdeep.kernels.{module.name}")
    assert set(compiler.KERNELS) <= set(warmup.compilable()) == known
    assert {"run_serial", "run_steps", "help_team"} <= known


# -- fetch ----------------------------------------------------------------------------------------


def test_fetch_finds_or_says_what_is_missing(tmp_path, monkeypatch, capsys):
    from skdeep.features import records

    source = tmp_path / "net.pth"
    source.write_bytes(b"weights")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("SKDEEP_OFFLINE", raising=False)
    sha256 = "9a129da4f5c9e9e9a9d33c61a1b1ea2f2ec16a7b1fba8c6e2e45a5e8f8ef1ad6"
    wrong = records.WeightsRecord("resnet18", "wrong", source.as_uri(), sha256=sha256)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    right = records.WeightsRecord("resnet18", "right", source.as_uri(), sha256=sha256, licence="L")
    for record in (wrong, right):
        monkeypatch.setitem(records.WEIGHTS, ("resnet18", record.tag), record)
    home = str(tmp_path / "home")
    assert main(["fetch", "resnet18", "--weights", "right", "--home", home]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "home" / "weights" / "net.pth") and "licence: L" in err
    monkeypatch.setenv("SKDEEP_HOME", str(tmp_path / "other"))
    assert main(["fetch", "resnet18", "--weights", "wrong"]) == 1
    assert sha256 in capsys.readouterr().err
    assert main(["fetch", "resnet5"]) == 1
    assert "no network is named 'resnet5'; choose one of" in capsys.readouterr().err
    assert main(["fetch", "resnet18", "--weights", "V7"]) == 1
    assert "no weights 'V7'" in capsys.readouterr().err
    monkeypatch.setenv("SKDEEP_OFFLINE", "1")
    assert main(["fetch", "resnet18"]) == 1
    assert "resnet18-f37072fd.pth" in capsys.readouterr().err


def test_fetch_lists_all(capsys):
    from skdeep.features import list_weights

    assert main(["fetch", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(list_weights())
    assert any(
        re.match(r"resnet50 +V1 +103  imagenet_top1 76.13 +torchvision; BSD", x) for x in lines
    )


@pytest.mark.parametrize(
    "arguments",
    [["fetch"], ["fetch", "resnet18", "--list"], ["digits", "resnet18"], ["warmup", "--list"]],
)
def test_fetch_and_others_keep_to_their_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "error" in capsys.readouterr().err


# -- features of a folder ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="reads pictures with Pillow")
    rng = np.random.RandomState(0)
    for name in ("cats/a.png", "cats/b.jpg", "dogs/a.png", "c.BMP"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(rng.randint(0, 256, (70, 60, 3), np.uint8)).save(path)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


FEATURES = ("--model", "squeezenet1_1", "--weights", "random")


def test_features_of_a_folder(folder, tmp_path, capsys):
    from skdeep.features import ImageFeatures

    target = tmp_path / "features.npz"
    layers = ("--layer", "stage1", "--layer", "pool")
    assert main(["features", str(folder), "-o", str(target), *layers, *FEATURES]) == 0
    assert "4 pictures, 640 features each" in capsys.readouterr().out
    with np.load(target) as data:
        assert data["files"].tolist() == ["c.BMP", "cats/a.png", "cats/b.jpg", "dogs/a.png"]
        assert data["labels"].tolist() == ["", "cats", "cats", "dogs"]
        assert data["feature_names"][0] == "stage1_0"
        transformer = ImageFeatures("squeezenet1_1", ["stage1", "pool"], weights="random")
        expected = transformer.transform([folder / f for f in data["files"]])
        assert np.array_equal(data["features"], expected)


def test_features_of_bad_pictures(folder, tmp_path, capsys):
    target = tmp_path / "features.npz"
    (folder / "c.BMP").write_bytes(b"BM")
    with pytest.warns(UserWarning, match=r"1 of 4 pictures.*c\.BMP"):
        assert main(["features", str(folder), "-o", str(target), *FEATURES]) == 0
    assert "1 could not be read and are NaN" in capsys.readouterr().out
    assert np.isnan(np.load(target)["features"]).all(axis=1).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder 'nowhere'"),
        (["{empty}"], "There are no pictures in"),
        (["{folder}", "--model", "resnet19"], "no network is named 'resnet19'"),
        (["{folder}", "--weights", "{folder}/notes.txt"], "notes.txt"),
        (["{folder}", "-o", "{empty}/no/such.npz", *FEATURES], "is in a folder that is not there"),
        (["{folder}", "-o", "{empty}", *FEATURES], "is a folder; name a file"),
    ],
)
def test_features_that_cannot_be(folder, tmp_path, capsys, arguments, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    arguments = [a.format(folder=folder, empty=empty) for a in arguments]
    assert main(["features", *arguments]) == 1
    shown = capsys.readouterr().err
    assert message in shown and "4/4" not in shown  # it is told before the work is done
    assert not list(empty.iterdir())


@pytest.fixture
def graph(tmp_path):
    """An .onnx file for pictures of 20 x 20: a convolution, a mean, three logits."""
    onnx = pytest.importorskip("onnx", reason="the file is written with the onnx package")
    rng, helper = np.random.RandomState(0), onnx.helper
    tensors = {"w": rng.randn(4, 3, 3, 3), "v": rng.randn(4, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], "mean"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "v"], ["y"], "head"),
    ]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 3, 20, 20])],
        [helper.make_tensor_value_info("y", 1, [1, 3])],
        [onnx.numpy_helper.from_array(t.astype(np.float32), n) for n, t in tensors.items()],
    )  # fmt: skip
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


SAID = ("--resize", "24x26", "--crop", "20", "--mean", "104,117,123", "--std", "2", "--scale", "1")


@pytest.mark.parametrize("flag", ["--model", "--weights"])
def test_features_of_a_graph_with_pictures_as_it_wants_them(folder, graph, tmp_path, capsys, flag):
    from skdeep.features import ImageFeatures, Preprocessing

    target = tmp_path / "features.npz"
    more = ("--channels", "bgr", "--interpolation", "bicubic")
    asked = ["features", str(folder), "-o", str(target), flag, str(graph)]
    assert main([*asked, *SAID, *more]) == 0
    recipe = Preprocessing((24, 26), 20, "bicubic", (104, 117, 123), (2, 2, 2), 1, "bgr")
    assert f"Pictures went through {recipe}" in capsys.readouterr().out
    with np.load(target) as data:
        expected = ImageFeatures(graph, preprocessing=recipe).transform(
            [folder / f for f in data["files"]]
        )
        assert expected.shape == (4, 4) and np.array_equal(data["features"], expected)
    assert main(asked) == 1
    shown = capsys.readouterr().err
    assert "net.onnx does not tell how its pictures are prepared" in shown and "--resize" in shown


def test_one_option_leaves_the_rest_as_published(folder, tmp_path, capsys):
    from skdeep.features import find_weights

    size = ("--resize", "80", "--crop", "64")
    given = ("--model", "googlenet", "--weights", "random", "--layer", "stem", *size)
    assert main(["features", str(folder), "-o", str(tmp_path / "f.npz"), *given]) == 0
    published = find_weights("googlenet").preprocessing
    expected = replace(published, resize=80, crop=64)
    assert published.mean == (0.5,) * 3 and str(expected) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mean", "1,2"], "'1,2' must be one number, or three with commas"),
        (["--scale", "1/0"], "'1/0' is no number"),
        (["--crop", "20x"], "'20x' is neither a side"),
        (["--resize", "0"], "'0' is neither a side"),
        (["--std", "0"], "std=(0.0, 0.0, 0.0) and scale="),
        (["--interpolation", "cubic"], "invalid choice: 'cubic'"),
    ],
)
def test_preparation_that_makes_no_sense(folder, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["features", str(folder), *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["digits", "--crop", "8"])
    assert "--crop does not go with 'digits', only with features, pictures" in (
        capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main(["pictures", "--model", "resnet18", "--crop", "8"])
    assert "pictures are prepared for a network" in capsys.readouterr().err


def test_pictures_without_a_size_are_refused(folder, graph, capsys):
    assert main(["features", str(folder), "--model", str(graph), "--crop", "none"]) == 1
    assert "leaves pictures of different sizes" in capsys.readouterr().err


def test_every_field_and_filter_can_be_given():
    from skdeep.cli import preparation
    from skdeep.features import preprocessing

    fields = [field.name for field in dataclass_fields(preprocessing.Preprocessing)]
    assert list(preparation.FIELDS) == fields
    assert sorted(preparation.INTERPOLATIONS) == sorted(preprocessing.INTERPOLATIONS)


# -- pictures ------------------------------------------------------------------------------------


@pytest.fixture
def small_task(monkeypatch):
    from skdeep.cli import pictures

    X_train, X_test, y_train, y_test = pictures.digits(1)
    small = X_train[:60], X_test[:100], y_train[:60], y_test[:100]
    monkeypatch.setattr(pictures, "tasks", lambda seed: [("some digits", small)])


def scores(text):
    """What each contender got right, in percent."""
    lines = [line.split() for line in text.splitlines() if "right" in line]
    return {words[0]: float(words[1].rstrip("%")) for words in lines}


def test_pictures_of_both_tasks(capsys):
    assert main(["pictures", "--seed", "1"]) == 0
    digits_part, photographs = capsys.readouterr().out.split("two photographs")
    for part, least in ((digits_part, 80), (photographs, 60)):
        right = scores(part)
        assert right["PatchFeatures"] > right["pixels"] > least


def test_pictures_through_a_network_of_the_user(small_task, tmp_path, capsys):
    from skdeep.features import find_network, random_weights
    from skdeep.formats import write_weights

    squeezenet = find_network("squeezenet1_1")
    state = squeezenet.to_torchvision(random_weights(squeezenet.network()))
    file = tmp_path / "net.safetensors"
    write_weights(file, {k: np.ascontiguousarray(v) for k, v in state.items()})
    assert main(["pictures", "--model", "squeezenet1_1", "--weights", str(file)]) == 0
    shown = capsys.readouterr().out
    assert scores(shown)["squeezenet1_1"] > 30 and "layer stage" in shown
    assert main(["pictures", "--weights", str(tmp_path / "nowhere.npz")]) == 1
    assert "nowhere.npz" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--model", "--weights"])
def test_pictures_through_a_graph(small_task, graph, capsys, flag):
    assert main(["pictures", flag, str(graph), *SAID]) == 0
    assert set(scores(capsys.readouterr().out)) == {
        "pixels",
        "PatchFeatures",
        "formula",
        "net.onnx",
    }
    assert main(["pictures", flag, str(graph)]) == 1
    assert "does not tell how its pictures are prepared" in capsys.readouterr().err


def test_without_a_command_both_jobs_are_shown(small_task, monkeypatch, capsys):
    monkeypatch.setattr(digits, "run", lambda folder, **kwargs: print("digits ran"))
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("digits ran") and "PatchFeatures" in shown
    assert main(["digits"]) == 0
    assert "PatchFeatures" not in capsys.readouterr().out

"""What benchmarks/features_quality.py measures with, and what its page says."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
RIVALS = ("raw pixels", "random weights", "HOGFeatures", "PatchFeatures", "formula")


@pytest.fixture
def bench(monkeypatch):
    """Modules of the folder of benchmarks, by name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with threadpool_limits(1):
        yield importlib.import_module


# ---- protocol ------------------------------------------------------------------------------------


def blobs(n, d, seed):
    rng = np.random.RandomState(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 0.7 * np.eye(d)[y], y


def test_coordinates_in_the_span_change_no_score(bench):
    probes = bench("feature_probes")
    (Z, y), (Z_test, _) = blobs(30, 80, 0), blobs(300, 80, 1)
    small, small_test = probes.in_span(Z, Z_test)
    assert small.shape == (30, 30)
    np.testing.assert_allclose(small @ small.T, Z @ Z.T, atol=1e-9)
    np.testing.assert_allclose(small_test @ small.T, Z_test @ Z.T, atol=1e-9)
    model = probes.LogisticRegression(C=0.1, tol=1e-9, max_iter=1000)
    expected = model.fit(Z, y).predict_proba(Z_test)
    found = model.fit(small, y).predict_proba(small_test)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_neighbours_vote_by_their_cosine(bench):
    probes = bench("feature_probes")
    (Z, y), (Z_test, y_test) = blobs(40, 5, 0), blobs(50, 5, 1)
    scores = probes.neighbours([(Z, y, Z_test, y_test)], [1, 7])
    for k, score in scores.items():
        right = 0
        for z, truth in zip(Z_test, y_test, strict=True):
            cosine = [z @ a / np.sqrt((z @ z) * (a @ a)) for a in Z]
            votes = [0.0] * 3
            for i in sorted(range(len(Z)), key=lambda i: -cosine[i])[:k]:
                votes[y[i]] += 1 + cosine[i]
            right += votes.index(max(votes)) == truth
        assert score == pytest.approx(right / len(Z_test))


def test_larger_values_of_c_are_tried_while_they_help(bench, monkeypatch):
    probes = bench("feature_probes")
    parts = [(*blobs(90, 60, seed), *blobs(900, 60, seed + 1)) for seed in (0, 2)]
    everywhere = probes.logistic(parts, probes.C_GRID)
    assert list(everywhere) == probes.C_GRID
    apart = [probes.logistic([part], probes.C_GRID) for part in parts]
    for C, score in everywhere.items():
        assert score == pytest.approx((apart[0][C] + apart[1][C]) / 2)
    monkeypatch.setattr(probes, "MANY", 50)
    scores = probes.logistic(parts, probes.C_GRID)
    values = list(scores.values())
    assert list(everywhere.items())[: len(scores)] == list(scores.items())
    assert len(scores) < len(everywhere) and max(values[-2:]) < max(values)


def test_choices_are_made_on_training_pictures_alone(bench):
    """The variant that the test would prefer is noise in training, and is not chosen."""
    probes = bench("feature_probes")
    (Z, y), (Z_test, y_test) = blobs(45, 6, 0), blobs(60, 6, 1)
    noise = np.random.RandomState(2).normal(size=Z.shape)
    answers = 9 * np.eye(6)[y_test]
    variants = {"answers": (noise, answers), "real": (5 * Z, 5 * Z_test)}
    found = probes.measure(variants, y, y_test, 15)
    assert {result["variant"] for result in found.values()} == {"real"}
    assert [len(b) for _, b in probes.held_out(y, 15)] == [15, 15, 15]
    assert [len(b) for _, b in probes.held_out(y, None)] == [9]


# ---- tasks ---------------------------------------------------------------------------------------


def test_few_pictures_are_the_first_of_many(bench):
    quality = bench("features_quality")
    y = np.random.RandomState(0).permutation(np.arange(200) % 4)
    five, twenty = (quality.few(y, n, 3) for n in (5, 20))
    assert np.bincount(y[five]).tolist() == [5] * 4
    assert np.bincount(y[twenty]).tolist() == [20] * 4
    assert set(five) < set(twenty)
    assert sorted(quality.few(y, None, 3)) == list(range(200))


def test_quarters_of_a_photograph_have_a_gap(bench):
    tasks = bench("feature_tasks")
    picture = np.arange(191 * 384).reshape(191, 384, 1)
    quarters = tasks._quarters(picture)
    places = [np.unravel_index(q.ravel(), (191, 384)) for q in quarters]
    assert min(min(q.shape[:2]) for q in quarters) >= tasks.SIDE
    for k, (i, j) in enumerate(places):
        for a, b in places[k + 1 :]:
            apart = max(
                max(a.min() - i.max(), i.min() - a.max()),
                max(b.min() - j.max(), j.min() - b.max()),
            )
            assert apart > tasks.GAP


def test_missing_fonts_are_named_with_the_command(bench, tmp_path, monkeypatch):
    tasks = bench("feature_tasks")
    for name in ("Lato-Bold.ttf", "Carlito-Regular.ttf", "FreeSans.ttf"):
        (tmp_path / name).touch()
    monkeypatch.setattr(tasks, "FONTS", tmp_path)
    designs, missing = tasks.installed_fonts()
    assert [path.name for path in designs["Lato, Carlito"]] == [
        "Carlito-Regular.ttf",
        "Lato-Bold.ttf",
    ]
    assert "fonts-lato" not in missing and "fonts-quicksand" in missing
    with pytest.raises(SystemExit, match="apt-get install .*fonts-quicksand"):
        tasks.glyphs(0)


# ---- page ----------------------------------------------------------------------------------------


def measured(accuracy):
    """A record of one task: ``accuracy(features, seed)`` with 5, 20 and 100 pictures per class."""
    results = [
        {
            "features": name,
            "per_class": per_class,
            "seed": seed,
            "probes": {
                probe: {"accuracy": accuracy(name, seed), "variant": "one", "chosen": 1}
                for probe in ("logistic", "neighbours")
            },
        }
        for name in RIVALS
        for per_class in (5, 20, 100)
        for seed in range(5)
    ]
    return {"facts": {"classes": 10, "training": 1000, "test": 500}, "results": results}


def test_the_page_is_what_the_results_say(bench):
    features_page = bench("features_page")
    record = json.loads(features_page.RECORD.read_text())
    page = features_page.page(record)
    assert features_page.PAGE.read_text(encoding="utf-8") == page, "run benchmarks/features_page.py"
    assert features_page.FIGURE.exists()
    assert set(record["tasks"]) == set(features_page.TASKS)


def test_the_page_says_which_margins_are_missed(bench):
    features_page = bench("features_page")
    record = json.loads(features_page.RECORD.read_text())

    def clear(name, seed):
        """Features differ by 0.1; seeds by as much, which pairs do not see."""
        return 0.1 * RIVALS.index(name) + 0.08 * seed

    def noisy(name, seed):
        return clear(name, seed) - (0.12 * seed if name == "formula" else 0)

    names = ("digits", "textures", "patches")
    facts = {"photographs": ["one", "two", "three"]}
    record["tasks"] = {name: measured(clear) for name in names}
    record["tasks"]["patches"]["facts"] |= facts
    text = features_page.page(record)
    assert "It is on 3 of 3 (digits, textures, patches): reached." in text
    assert "beats raw pixels on all tasks. It does" in text
    assert "| raw pixels | **+40.0 ± 0.0** |" in text
    assert "| raw pixels | 16.0 ± 12.6 |" in text
    record["tasks"]["textures"] = measured(noisy)
    text = features_page.page(record)
    assert "It is on 2 of 3 (digits, patches): **missed**." in text
    assert "with 20 on 2 of 3 (digits, patches);" in text
    assert "| `HOGFeatures` | -4.0 ± 19.0 |" in text
    assert "no clear margin on textures with 5 (-4.0)" in text

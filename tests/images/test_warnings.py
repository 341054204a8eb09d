"""Warnings of pictures that cannot be read point at the line of who called, and at no library's."""

import inspect
from contextlib import suppress

import joblib
import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from tiny_network import RECIPE, TINY

from skdeep.features import ImageClassifier, ImageFeatures, ImageLoader, ImageLocalizer

GOOD = np.full((20, 24, 3), 90, np.uint8)
X = [GOOD, b"no picture", GOOD]


def features(file, **parameters):
    return ImageFeatures(TINY, weights=file, preprocessing=RECIPE, on_error="nan", **parameters)


def classifier(file, **parameters):
    return ImageClassifier(TINY, file, preprocessing=RECIPE, on_error="nan", **parameters)


def localizer(file):
    return ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, on_error="nan")


def loader(file):
    return ImageLoader(TINY, file, preprocessing=RECIPE, on_error="nan")


def columns(file):
    return ColumnTransformer([("image", features(file), [0])])


CALLS = {
    "transform": lambda f, d: features(f).transform(X),
    "transform, cached": lambda f, d: features(f, cache=d).transform(X),
    "fit_transform": lambda f, d: features(f).fit_transform(X),
    "maps": lambda f, d: features(f, layer="stem", pool=None).fit_transform(X),
    "without a container": lambda f, d: features(f).set_output(transform="default").transform(X),
    "predict": lambda f, d: classifier(f).predict(X),
    "score": lambda f, d: classifier(f).score(X, [0, 1, 2]),
    "predict_proba": lambda f, d: classifier(f).predict_proba(X),
    "predict_proba, ten crops": lambda f, d: classifier(f, crops=10).predict_proba(X),
    "predict_top": lambda f, d: classifier(f).predict_top(X, k=2),
    "decision_function": lambda f, d: classifier(f).decision_function(X),
    "localizer": lambda f, d: localizer(f).predict(X),
    "window_probabilities": lambda f, d: localizer(f).window_probabilities(X),
    "loader": lambda f, d: loader(f).transform(X),
    "loader, fit_transform": lambda f, d: loader(f).fit_transform(X),
    "pipeline": lambda f, d: make_pipeline(features(f), "passthrough").transform(X),
    "pipeline, fit_transform": lambda f, d: make_pipeline(
        features(f), "passthrough", memory=joblib.Memory(d, verbose=0)
    ).fit_transform(X),
    "pipeline of a pipeline": lambda f, d: make_pipeline(
        make_pipeline(loader(f)), "passthrough"
    ).fit_transform(X),
    "columns": lambda f, d: columns(f).fit_transform(np.array([X], dtype=object).T),
}


@pytest.mark.parametrize("call", CALLS)
def test_warnings_point_at_the_line_of_the_caller(file, tmp_path, call):
    message = "1 of 3 pictures"
    with pytest.warns(UserWarning, match=message) as record, suppress(ValueError):  # of predict
        CALLS[call](file, tmp_path)
    (warning,) = record
    assert warning.filename == __file__
    lines, first = inspect.getsourcelines(CALLS[call])
    assert first <= warning.lineno < first + len(lines)


def test_a_cache_that_cannot_write(file, tmp_path, monkeypatch):
    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("skdeep.features.segments.Store.append", full)
    with pytest.warns(UserWarning, match="no longer kept in .*: no space left") as record:
        features(file, cache=tmp_path / "cache").transform([GOOD])
    assert [warning.filename for warning in record] == [__file__]

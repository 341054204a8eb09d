"""A network's own head as a classifier of pictures."""

import pickle

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import get_scorer
from tiny_network import RECIPE, TINY, by_hand

from skdeep.features import ImageClassifier, ImageFeatures, Preprocessing, random_weights


def test_the_head_classifies(file, weights, pictures):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE)
    logits = by_hand(weights, pictures, "fc")
    p = softmax(logits, axis=1)
    np.testing.assert_allclose(classifier.decision_function(pictures), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(pictures), p, rtol=1e-4, atol=1e-6)
    assert np.array_equal(classifier.predict(pictures), p.argmax(axis=1))
    top = classifier.predict_top(pictures, k=2)
    assert [t[0][0] for t in top] == p.argmax(axis=1).tolist()
    assert all(t[0][1] >= t[1][1] for t in top)
    assert classifier.fit(pictures).score(pictures, p.argmax(axis=1)) == 1.0
    assert classifier.classes_.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(
        pickle.loads(pickle.dumps(classifier)).predict(pictures), classifier.predict(pictures)
    )
    for k in (9, 2.5):
        with pytest.raises(ValueError, match=rf"k={k} must be an integer between 1 and 5"):
            classifier.predict_top(pictures, k)


@pytest.mark.parametrize("crops", [1, 10])
def test_pictures_that_cannot_be_read_have_no_class(file, pictures, crops):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE, crops=crops, on_error="nan")
    X = [b"no picture", pictures[0], b"neither"]
    with pytest.warns(UserWarning, match="2 of 3 pictures .* picture 0 .* picture 2"):
        p = classifier.predict_proba(X)
    assert np.isnan(p).all(axis=1).tolist() == [True, False, True]
    np.testing.assert_allclose(p[1].sum(), 1, rtol=1e-5)
    with pytest.warns(UserWarning):
        assert [len(top) for top in classifier.predict_top(X, k=2)] == [0, 2, 0]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"pictures \[0, 2\] have no"):
        classifier.predict(X)
    assert classifier.predict_proba([]).shape == (0, 5)
    squash = Preprocessing(resize=(16, 16), crop=None)
    if crops == 10:
        with pytest.raises(ValueError, match="crops=10 needs a Preprocessing with a crop"):
            classifier.set_params(preprocessing=squash).predict_proba(pictures)


def test_ten_crops_of_a_network_that_is_very_sure(state, pictures):
    """Probabilities below the smallest float32 have logarithms all the same."""
    sure = {k: v * (1e4 if k.startswith("fc") else 1) for k, v in state.items()}
    scores = ImageClassifier(TINY, sure, preprocessing=RECIPE, crops=10).decision_function(pictures)
    assert np.isfinite(scores).all() and scores.min() < -200


def test_ten_crops_are_averaged(file, pictures):
    classifier = ImageClassifier(TINY, file, preprocessing=RECIPE)
    crops = np.concatenate([RECIPE.ten_crops(p) for p in pictures[:3]])
    whole = ImageFeatures(
        TINY,
        "logits",
        weights=file,
        preprocessing=Preprocessing(None, 16, mean=(0,) * 3, std=(1,) * 3),
    )
    (logits,) = classifier._load().run(
        crops,
        ("fc",),
        None,
        device=whole._device(),
        n_threads=1,
        memory="fast",
        precision="float32",
    )
    expected = softmax(logits, axis=1).reshape(3, 10, -1).mean(axis=1)
    ten = classifier.set_params(crops=10)
    np.testing.assert_allclose(ten.predict_proba(pictures[:3]), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(ten.decision_function(pictures[:3])), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="crops=3 must be 1 or 10"):
        classifier.set_params(crops=3).predict(pictures)


@pytest.mark.parametrize("crops", [1, 10])
def test_two_classes_are_scored_as_scikit_learn_does(pictures, crops):
    two = TINY.with_outputs(2)
    state = two.to_torchvision(random_weights(two.network(), seed=2))
    classifier = ImageClassifier(two, state, preprocessing=RECIPE, crops=crops)
    p, scores = classifier.predict_proba(pictures), classifier.decision_function(pictures)
    assert p.shape == (24, 2) and scores.shape == (24,)
    np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]), rtol=1e-3, atol=1e-5)
    assert np.array_equal(classifier.predict(pictures), scores > 0)
    assert 0 <= get_scorer("roc_auc")(classifier, pictures, np.arange(24) % 2) <= 1


def test_imagenet_has_names(pictures):
    classifier = ImageClassifier("squeezenet1_1", "random")
    assert classifier.classes_.tolist() == list(range(1000))  # random weights know no tench


def test_without_a_head_there_are_no_classes(tiny, state, pictures):
    body = {k: v for k, v in state.items() if not k.startswith("fc")}
    features = tiny(weights=body).fit_transform(pictures)
    assert np.array_equal(features, tiny().transform(pictures))
    with pytest.raises(ValueError, match="has no head with these weights"):
        ImageClassifier(TINY, body, preprocessing=RECIPE).predict(pictures)

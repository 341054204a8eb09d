"""Where on a picture a class is found, and with what probability."""

import re

import numpy as np
import pytest
from tiny_network import RECIPE, TINY

from skdeep.features import ImageClassifier, ImageLocalizer, Location, Preprocessing
from skdeep.features.image_localizer import suppress
from skdeep.formats import write_weights


def test_a_window_of_its_own_size_is_classified_as_the_picture(file, weights):
    rng = np.random.RandomState(3)
    picture = rng.randint(0, 256, (16, 16, 3), np.uint8)
    recipe = Preprocessing(16, 16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe, scales=(1.0,))
    (p,) = localizer.window_probabilities([picture])
    expected = ImageClassifier(TINY, file, preprocessing=recipe).predict_proba([picture])
    assert p.shape == (1, 1, 5)
    np.testing.assert_allclose(p[0], expected, rtol=1e-5)


def test_places_are_where_a_class_is(state, tmp_path):
    made = red_state(state)
    path = tmp_path / "red.npz"
    write_weights(path, made)
    picture = np.full((64, 96, 3), 128, np.uint8)
    picture[40:60, 10:30] = (255, 0, 0)
    recipe = Preprocessing(64, 16, mean=(0, 0, 0), std=(1, 1, 1))
    localizer = ImageLocalizer(TINY, [1], weights=path, preprocessing=recipe, scales=(1.0,))
    ((best, *_),) = localizer.fit().predict([picture])
    assert best.label == 1 and best.probability > 0.99
    assert best.overlap(Location(1, 1.0, 10, 40, 30, 60)) > 0.4
    assert best.right - best.left == 16 and best.bottom - best.top == 16
    (nothing,) = localizer.predict([np.full((64, 96, 3), 128, np.uint8)])
    assert nothing == []
    with pytest.raises(ValueError, match=r"classes=\['cat'\] are not among the 5"):
        ImageLocalizer(TINY, ["cat"], weights=path, preprocessing=recipe).fit()


def red_state(state):
    """Weights made by hand: class 1 is red, class 0 is everything else."""
    made = {k: np.zeros_like(v) for k, v in state.items()}
    made["conv1.weight"][0, 0, 1, 1], made["conv1.weight"][0, 1, 1, 1] = 1, -1  # red minus green
    made["block.conv.weight"][0, 0, 1, 1] = 1
    made["block.bn.running_var"][:] = 1
    made["block.bn.weight"][:] = 1
    made["fc.weight"][1, 0], made["fc.bias"][1] = 20, -12
    return made


@pytest.mark.parametrize("scale", [1.0, 1.4, 2.5])
@pytest.mark.parametrize(
    ("shape", "resize"), [((64, 99), 64), ((131, 64), 66), ((131, 64), (50, 70)), ((70, 81), None)]
)
def test_boxes_are_the_windows_that_the_network_saw(state, shape, resize, scale):
    """A window has the probabilities of its box cut out, for a network that looks at pixels."""
    recipe = Preprocessing(resize, 16, mean=(0, 0, 0), std=(1, 1, 1))
    made = red_state(state)
    localizer = ImageLocalizer(TINY, [1], weights=made, preprocessing=recipe, scales=(scale,))
    shorter = resize or 0 if not isinstance(resize, tuple) else min(resize)
    ratio = scale * (shorter / min(shape) if shorter else 1)
    picture = np.full((*shape, 3), 128, np.uint8)
    top, left = 24 / ratio, 32 / ratio  # of a window: multiples of the stride, 4
    side = 16 / ratio
    picture[round(top) : round(top + side), round(left) : round(left + side)] = (255, 0, 0)
    ((best, *_),) = localizer.predict([picture])
    found = best.top, best.left, best.bottom, best.right
    np.testing.assert_allclose(found, [top, left, top + side, left + side], atol=1.01)
    end = localizer.window_probabilities([picture], scale)[0].shape[0] - 1
    assert 4 * end + 16 <= shape[0] * ratio + 4


def test_places_on_pictures_of_a_pixel(file):
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, threshold=0.0)
    for place in localizer.predict([np.zeros((1, 1, 3), np.uint8)])[0]:
        assert (place.left, place.top, place.right, place.bottom) == (0, 0, 1, 1)


def test_pictures_smaller_than_the_network(file):
    recipe = Preprocessing(resize=12, crop=16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe)
    assert localizer.window_probabilities([np.zeros((9, 9, 3), np.uint8)])[0].shape == (1, 1, 5)


def test_messages_of_the_localizer(file):
    for parameters, message in (
        ({"scales": 2.0}, "scales=2.0 must be a tuple"),
        ({"scales": ()}, r"scales=\(\) must be a tuple"),
        ({"scales": (1.0, 0.5)}, "scale 0.5 must be a number of at least 1"),
        ({"threshold": 2}, "threshold=2 must be"),
        ({"classes": "cat"}, "classes='cat' must be a list of labels"),
    ):
        localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE)
        with pytest.raises(ValueError, match=message):
            localizer.set_params(**parameters).fit()
    with pytest.raises(ValueError, match="scale 'large' must be"):
        ImageLocalizer(TINY, weights=file, preprocessing=RECIPE).window_probabilities([], "large")


def test_a_network_without_a_head():
    for estimator in (ImageLocalizer("formula"), ImageClassifier("formula")):
        with pytest.raises(ValueError, match="formula has no head with these weights; "):
            estimator.fit()


def test_labels_are_plain(file):
    """As those of ``predict_top``: numbers and texts that print as such."""
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, threshold=0.0)
    (places,) = localizer.predict([np.full((30, 40, 3), 90, np.uint8)])
    assert {type(place.label) for place in places} == {int}
    assert re.match(r"Location\(label=\d, probability=0\.\d+, left=\d", repr(places[0]))


def test_pictures_of_many_sizes(file):
    """One size after another, twice: more than are kept."""
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=RECIPE, scales=(1.0,))
    pictures = [np.full((20, 20 + 2 * k, 3), 10 * k, np.uint8) for k in range(12)]
    first, again = (localizer.window_probabilities(pictures) for _ in range(2))
    assert [p.shape[1] for p in first] == [(10 + k) // 2 - 3 for k in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again))


def test_windows_of_pictures_that_cannot_be_read(file, capsys):
    recipe = Preprocessing(16, 16)
    localizer = ImageLocalizer(TINY, weights=file, preprocessing=recipe, scales=(1.0,), verbose=1)
    good = np.full((20, 24, 3), 90, np.uint8)
    X = [good, b"no picture", good]
    for call in (localizer.window_probabilities, localizer.predict):
        with pytest.raises(ValueError, match="picture"):
            call(X)
    localizer.set_params(on_error="nan", threshold=0.0)
    with pytest.warns(UserWarning, match="1 of 3 pictures"):
        first, unread, last = localizer.window_probabilities(X)
    assert unread.shape == (1, 1, 5) and unread.dtype == np.float32 and np.isnan(unread).all()
    (expected,) = localizer.window_probabilities([good])
    assert np.array_equal(first, expected) and np.array_equal(last, expected)
    with pytest.warns(UserWarning, match="1 of 3 pictures"):
        first, unread, last = localizer.predict(X)
    assert first == last and first and unread == []
    assert "3/3" in capsys.readouterr().err


def test_overlapping_places_of_a_class_become_one():
    a, b = Location("cat", 0.9, 0, 0, 10, 10), Location("cat", 0.8, 1, 1, 11, 11)
    c, d = Location("dog", 0.7, 0, 0, 10, 10), Location("cat", 0.6, 20, 20, 30, 30)
    assert suppress([d, b, c, a], 0.3) == [a, c, d]
    assert a.overlap(d) == 0 and a.overlap(a) == 1

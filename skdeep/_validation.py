"""What parameters may be: a sentence for people, and a test."""

import math
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np


class Rule(NamedTuple):
    """One kind of allowed value. ``holds(value)`` says whether a value is of it."""

    text: str
    holds: object


def _number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _count(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def _pair_of(holds):
    def pair(value):
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(holds, value))

    return pair


def _padding(value):
    def side(v):
        return isinstance(v, Integral) and not isinstance(v, bool) and v >= 0

    if isinstance(value, str):
        return value in ("valid", "same")
    return side(value) or _pair_of(lambda v: side(v) or _pair_of(side)(v))(value)


def _values(value):
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return False
    return array.dtype.kind in "biuf" and bool(np.isfinite(array).all())


COUNT = Rule("a positive integer", _count)
COUNT_PAIR = Rule(
    "a positive integer or a pair of them", lambda v: _count(v) or _pair_of(_count)(v)
)
PADDING = Rule("'valid', 'same', an integer, a pair or a pair of pairs, none negative", _padding)
NUMBER = Rule("a finite number", _number)
POSITIVE = Rule("a positive number", lambda v: _number(v) and v > 0)
NOT_NEGATIVE = Rule("a number that is not negative", lambda v: _number(v) and v >= 0)
SHARE = Rule("a number in [0, 1)", lambda v: _number(v) and 0 <= v < 1)
FLAG = Rule("True or False", lambda v: isinstance(v, (bool, np.bool_)))
VALUES = Rule("a finite number or an array of them", _values)
INDEX = Rule(
    "an integer that is not negative", lambda v: _count(v) or (v == 0 and not isinstance(v, bool))
)
SHAPE = Rule(
    "a tuple of positive integers, one of which may be -1",
    lambda v: isinstance(v, (tuple, list)) and all(s == -1 or _count(s) for s in v),
)


def one_of(choices):
    """One of some strings."""
    return Rule(
        f"one of {', '.join(map(repr, choices))}", lambda v: isinstance(v, str) and v in choices
    )


def optional(rule):
    """As a rule, or None."""
    return Rule(f"{rule.text} or None", lambda v: v is None or rule.holds(v))


def check_parameters(owner, where=None):
    """Compare the parameters of an object with the rules of its class, ``_rules``.

    Parameters
    ----------
    owner : object
        Its ``_rules`` is a dict of parameter names to rules.
    where : str or None
        How the message calls it; None: the name of its class.

    Raises
    ------
    ValueError
        For the first parameter that breaks its rule.
    """
    for name, rule in getattr(owner, "_rules", {}).items():
        if not hasattr(owner, name):  # a rule of a family of classes, for others of them
            continue
        value = getattr(owner, name)
        if not rule.holds(value):
            where = where or type(owner).__name__
            raise ValueError(f"{where}: {name}={value!r} must be {rule.text}.")

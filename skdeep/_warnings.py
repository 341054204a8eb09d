"""Warnings that point at the user's line, however many libraries lie between."""

import sys
import warnings

__all__ = ["warn"]

# Whose frames are passed over: scikit-learn's wrap every transform, and call us from a Pipeline.
LIBRARIES = {"joblib", "pickle", "scipy", "skdeep", "sklearn"}


def warn(message, category=UserWarning):
    """Warn about the nearest line that is in none of the libraries.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _library(frame) in LIBRARIES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _library(frame):
    return frame.f_globals.get("__name__", "").split(".")[0]

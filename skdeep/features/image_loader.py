"""Pictures as the arrays that a network takes."""

from contextlib import closing

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..training.progress import counting
from .image_features import PretrainedMixin
from .loading import stream
from .pictures import Pictures
from .sources import preprocessing_of

__all__ = ["ImageLoader"]


class ImageLoader(PretrainedMixin, TransformerMixin, BaseEstimator):
    """Read, resize, crop and normalise pictures, as a network was trained with them.

    For networks that are trained further (:func:`network`), and for networks of your own on
    pictures from files.

    Parameters
    ----------
    model : str, path or Architecture, default="resnet50"
        Whose preprocessing is used.
    weights : str, path, WeightsRecord or dict of arrays, default="default"
        Nothing of them is read but their record.
    preprocessing : Preprocessing or "auto", default="auto"
    n_threads : int or None, default=None
    on_error : {"raise", "nan"}, default="raise"
        Whether a picture that cannot be read is an error, or an array of NaN and a warning.
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import ImageLoader, Preprocessing
    >>> pictures = np.random.RandomState(0).randint(0, 256, (2, 90, 70, 3), np.uint8)
    >>> ImageLoader(preprocessing=Preprocessing(resize=36, crop=32)).fit_transform(pictures).shape
    (2, 32, 32, 3)
    """

    batch_size, precision = 64, "float32"  # of a network, which there is none

    def __init__(
        self,
        model="resnet50",
        weights="default",
        *,
        preprocessing="auto",
        n_threads=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.weights = weights
        self.preprocessing = preprocessing
        self.n_threads = n_threads
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X=None, y=None):
        """Check the parameters; the pictures teach nothing.

        Parameters
        ----------
        X, y : ignored

        Returns
        -------
        self
        """
        self._check()
        self._recipe()
        return self

    def _recipe(self):
        return preprocessing_of(self.model, self.weights, self.preprocessing)

    def transform(self, X):
        """Prepared pictures.

        Parameters
        ----------
        X : sequence of pictures, as of :meth:`ImageFeatures.transform`

        Returns
        -------
        ndarray of float32 of shape (n_pictures, height, width, 3)
        """
        self._check()
        recipe, pictures = self._recipe(), Pictures(X)
        out = np.full((len(pictures), *recipe.output_shape), np.nan, np.float32)
        failed = {}
        with (
            closing(stream(pictures, recipe, self.batch_size, self._threads())) as batches,
            counting(len(pictures), "picture", self.verbose) as advance,
        ):
            for rows, batch, errors in batches:
                if errors and self.on_error == "raise":
                    raise errors[min(errors)]
                failed |= errors
                out[rows] = batch
                advance(len(rows))
        out[list(failed)] = np.nan
        self._warn(failed, len(pictures))
        return out

    def __sklearn_is_fitted__(self):
        return True

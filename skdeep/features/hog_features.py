"""Histograms of oriented gradients: features of pictures that nothing is learnt for."""

from contextlib import closing

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._validation import COUNT, FLAG, POSITIVE, SHAPE, Rule, check_parameters, optional
from ..layers import Layer
from ..ops.hog import HogBlocks, HogCells
from .arrays import ArrayFeatures, extractor_of
from .loading import stream
from .pictures import Pictures
from .preprocessing import Preprocessing

__all__ = ["HOGFeatures"]

LEVELS = np.float32(255)
RECIPE = Rule(
    "a Preprocessing with a fixed size (a crop, or resize=(height, width)) or None",
    lambda v: v is None or (isinstance(v, Preprocessing) and None not in v.output_shape),
)


class Histograms(Layer):
    """Pictures (n, h, w, c) to normalised blocks of histograms."""

    def __init__(self, cell, block, bins, signed, eps):
        self.cell = cell
        self.block = block
        self.bins = bins
        self.signed = signed
        self.eps = eps

    def forward(self, x):
        """Cells, then blocks of them."""
        cells = HogCells(x, cell=self.cell, bins=self.bins, signed=self.signed).output
        return HogBlocks(cells, size=self.block, eps=self.eps).output


class HOGFeatures(ArrayFeatures):
    """Histograms of oriented gradients, a baseline that is hard to beat where shape is what counts.

    The picture is cut into cells. Each pixel votes, with the length of its gradient, for the two
    nearest directions in the four nearest cells. Blocks of neighbouring cells, which overlap, are
    normalised: to length 1, limited to 0.2, and to length 1 again.

    Parameters
    ----------
    cell_size : int, default=8
        Pixels of the side of a cell. Pixels beyond the last whole cell are left out.
    block_size : int, default=2
        Cells of the side of a block.
    orientations : int, default=9
    signed : bool, default=False
        True: directions go around the whole circle, and dark on light is not light on dark.
    epsilon : float, default=0.01
        Added, squared, to the squared length of a block, where levels are 0 .. 1 (bytes are divided
        by 255): so little contrast that it is noise is not amplified.
    preprocessing : Preprocessing or None, default=None
        Brings pictures, of any sizes and from files as well, to one size. None: they are arrays of
        one size and any number of channels.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and channels, for X of two axes; one of them may be -1.
    batch_size : int, default=256
        Pictures that are converted to float32 together.
    n_threads : int or None, default=None
    verbose : int, default=0
        Above 0 a bar shows the progress.

    Attributes
    ----------
    image_shape_ : tuple of int
    n_features_in_ : int

    References
    ----------
    Dalal & Triggs, Histograms of oriented gradients for human detection, 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdeep.features import HOGFeatures
    >>> X, y = load_digits(return_X_y=True)
    >>> HOGFeatures(cell_size=2, image_shape=(8, 8)).fit_transform(X / 16).shape
    (1797, 324)
    """

    _rules = {
        "cell_size": COUNT,
        "block_size": COUNT,
        "orientations": COUNT,
        "signed": FLAG,
        "epsilon": POSITIVE,
        "preprocessing": RECIPE,
        "image_shape": optional(SHAPE),
        "batch_size": COUNT,
        "n_threads": optional(COUNT),
    }

    def __init__(
        self,
        cell_size=8,
        block_size=2,
        orientations=9,
        *,
        signed=False,
        epsilon=0.01,
        preprocessing=None,
        image_shape=None,
        batch_size=256,
        n_threads=None,
        verbose=0,
    ):
        self.cell_size = cell_size
        self.block_size = block_size
        self.orientations = orientations
        self.signed = signed
        self.epsilon = epsilon
        self.preprocessing = preprocessing
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X, y=None):
        """Note the size of the pictures, which teach nothing.

        Parameters
        ----------
        X : as of :meth:`transform`
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For what are no pictures of one size, or smaller than a block.
        """
        if self.preprocessing is None:
            self._read(X, reset=True)
        else:
            self._pictures(X)
            self.image_shape_, self.n_features_in_ = self.preprocessing.output_shape, 1
        self._blocks()
        self._held = {}
        return self

    def _pictures(self, X):
        check_parameters(self)
        return Pictures(X)

    def transform(self, X):
        """Histograms of pictures.

        Parameters
        ----------
        X : array of shape (n, h, w), (n, h, w, c) or (n, n_features)
            Pictures of the size that ``fit`` saw; with ``preprocessing`` what
            :meth:`ImageFeatures.transform` takes.

        Returns
        -------
        ndarray of float32 of shape (n, n_features_out)

        Raises
        ------
        ValueError
            For pictures that are not like those of ``fit``, or that cannot be read.
        """
        if self.preprocessing is None:
            return super().transform(X)
        check_is_fitted(self, "image_shape_")
        return self._transform_rows(self._pictures(X))

    def _batches(self, source):
        if isinstance(source, Pictures):
            yield from self._prepared(source)
            return
        for start, stop, pictures in super()._batches(source):
            yield start, stop, pictures / LEVELS if source.dtype == np.uint8 else pictures

    def _prepared(self, pictures):
        """As :meth:`_batches`, of pictures that are read and resized meanwhile."""
        batches = stream(pictures, self.preprocessing, self.batch_size, self._threads())
        with closing(batches):
            for rows, batch, errors in batches:
                for error in errors.values():
                    raise error
                yield rows[0], rows[0] + len(rows), batch

    def _blocks(self):
        """Blocks down and across."""
        height, width, _ = self.image_shape_
        blocks = tuple(n // self.cell_size - self.block_size + 1 for n in (height, width))
        if min(blocks) < 1:
            raise ValueError(
                f"HOGFeatures: blocks of block_size={self.block_size} cells of cell_size="
                f"{self.cell_size} pixels do not fit into pictures of {height} x {width} "
                f"(n_features={self.n_features_in_}); pass smaller ones."
            )
        return blocks

    def _network(self):
        """See :class:`ArrayFeatures`."""
        self._blocks()
        facts = (
            self.cell_size, self.block_size, self.orientations, bool(self.signed),
            float(self.epsilon),
        )  # fmt: skip
        layers = [("histograms", Histograms(*facts))]
        return facts, lambda: extractor_of("HOGFeatures", layers, self.image_shape_, {})

    def _names(self):
        down, across = self._blocks()
        count = self.block_size**2 * self.orientations
        return [
            f"block{a}_{b}_{k}" for a in range(down) for b in range(across) for k in range(count)
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = self.preprocessing is not None
        return tags

"""Features of a network that has learnt nothing, to compare those with that have."""

from numbers import Integral

from .image_features import ImageFeatures

__all__ = ["RandomFeatures"]


class RandomFeatures(ImageFeatures):
    """Features of pictures from a network with random weights.

    What a network gives before it has learnt anything says how much of a result is owed to its
    architecture: print it beside :class:`ImageFeatures` with the same ``model`` and ``layer``.

    Parameters
    ----------
    model : str or Architecture, default="resnet18"
        A network by name (:func:`find_network`).
    layer : str or list of str, default="pool"
        As of :class:`ImageFeatures`, like all that follow but one.
    preprocessing : Preprocessing or "auto", default="auto"
    pool : {"auto", "avg", "max", "flatten", None}, default="auto"
    random_state : int, default=0
        The seed of the weights; not negative. The same seed gives the same weights in every
        process, which is why there is no other kind.
    batch_size : int, default=32
    precision : {"float32", "bfloat16"} or None, default=None
    cache : path, FeatureCache, joblib.Memory or None, default=None
    device : {"cpu", "cuda"} or None, default=None
    n_threads : int or None, default=None
    on_error : {"raise", "nan"}, default="raise"
    verbose : int, default=0

    Attributes
    ----------
    layers_ : LayerTable
    preprocessing_ : Preprocessing
    n_features_out_ : int

    References
    ----------
    Saxe et al., On random weights and unsupervised feature learning, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import RandomFeatures
    >>> pictures = np.random.RandomState(0).randint(0, 256, (2, 90, 70, 3), np.uint8)
    >>> RandomFeatures("squeezenet1_1", "stage2", random_state=3).fit_transform(pictures).shape
    (2, 256)
    """

    def __init__(
        self,
        model="resnet18",
        layer="pool",
        *,
        preprocessing="auto",
        pool="auto",
        random_state=0,
        batch_size=32,
        precision=None,
        cache=None,
        device=None,
        n_threads=None,
        on_error="raise",
        verbose=0,
    ):
        self.model = model
        self.layer = layer
        self.preprocessing = preprocessing
        self.pool = pool
        self.random_state = random_state
        self.batch_size = batch_size
        self.precision = precision
        self.cache = cache
        self.device = device
        self.n_threads = n_threads
        self.on_error = on_error
        self.verbose = verbose

    @property
    def weights(self):
        """What :class:`ImageFeatures` calls these weights."""
        seed = self.random_state
        if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"random_state={seed!r} must be an integer that is not negative.")
        return f"random:{seed}"

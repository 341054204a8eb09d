"""The names of sklearn-theano, for those who come from it."""

from .image_classifier import ImageClassifier
from .image_features import ImageFeatures

__all__ = [
    "GoogLeNetClassifier",
    "GoogLeNetTransformer",
    "OverfeatClassifier",
    "OverfeatTransformer",
    "VGG16Transformer",
    "VGG19Transformer",
]

# What sklearn-theano's parameters became.
RENAMED = {
    "output_layers": "pass layer='penultimate' for [-3], or another name that `layers_` lists",
    "top_n": "call predict_top(X, k=...)",
    "output_strings": "`classes_` holds names, and predict gives them",
    "force_reshape": "leave it out: pictures of any size are prepared as the weights want them",
    "transpose_order": "leave it out: pictures are (h, w, c), as Pillow has them",
}


def _check(parameters):
    for name in parameters:
        if name in RENAMED:
            raise TypeError(f"{name} of sklearn-theano is not known here; {RENAMED[name]}.")


def OverfeatTransformer(large_network=False, *, layer="penultimate", **parameters):
    """OverFeat's features; its file ``net_weight_0`` (small) or ``net_weight_1`` goes to weights.

    Parameters
    ----------
    large_network : bool, default=False
    layer : str, default="penultimate"
    **parameters
        Of :class:`ImageFeatures`.

    Returns
    -------
    ImageFeatures

    Examples
    --------
    >>> from skdeep.features import OverfeatTransformer
    >>> OverfeatTransformer(weights="net_weight_0").model
    'overfeat_small'
    """
    _check(parameters)
    return ImageFeatures(_overfeat(large_network), layer, **parameters)


def OverfeatClassifier(large_network=False, **parameters):
    """OverFeat with its head.

    Parameters
    ----------
    large_network : bool, default=False
    **parameters
        Of :class:`ImageClassifier`.

    Returns
    -------
    ImageClassifier

    Examples
    --------
    >>> from skdeep.features import OverfeatClassifier
    >>> OverfeatClassifier(True, weights="net_weight_1").model
    'overfeat_large'
    """
    _check(parameters)
    return ImageClassifier(_overfeat(large_network), **parameters)


def _overfeat(large):
    return "overfeat_large" if large else "overfeat_small"


def GoogLeNetTransformer(layer="pool", **parameters):
    """Features of GoogLeNet in its original form, with Caffe's weights.

    Parameters
    ----------
    layer : str, default="pool"
    **parameters
        Of :class:`ImageFeatures`.

    Returns
    -------
    ImageFeatures

    Examples
    --------
    >>> from skdeep.features import GoogLeNetTransformer
    >>> GoogLeNetTransformer()
    ImageFeatures(model='bvlc_googlenet')
    """
    _check(parameters)
    return ImageFeatures("bvlc_googlenet", layer, **parameters)


def GoogLeNetClassifier(**parameters):
    """GoogLeNet in its original form, with its head.

    Parameters
    ----------
    **parameters
        Of :class:`ImageClassifier`.

    Returns
    -------
    ImageClassifier

    Examples
    --------
    >>> from skdeep.features import GoogLeNetClassifier
    >>> GoogLeNetClassifier(crops=10)
    ImageClassifier(crops=10, model='bvlc_googlenet')
    """
    _check(parameters)
    return ImageClassifier("bvlc_googlenet", **parameters)


def VGG16Transformer(layer="penultimate", *, weights="caffe", **parameters):
    """Features of VGG16, with its authors' weights.

    Parameters
    ----------
    layer : str, default="penultimate"
    weights : as of ImageFeatures, default="caffe"
    **parameters
        Of :class:`ImageFeatures`.

    Returns
    -------
    ImageFeatures

    Examples
    --------
    >>> from skdeep.features import VGG16Transformer
    >>> VGG16Transformer()
    ImageFeatures(layer='penultimate', model='vgg16', weights='caffe')
    """
    _check(parameters)
    return ImageFeatures("vgg16", layer, weights=weights, **parameters)


def VGG19Transformer(layer="penultimate", *, weights="caffe", **parameters):
    """Features of VGG19, with its authors' weights.

    Parameters
    ----------
    layer : str, default="penultimate"
    weights : as of ImageFeatures, default="caffe"
    **parameters
        Of :class:`ImageFeatures`.

    Returns
    -------
    ImageFeatures

    Examples
    --------
    >>> from skdeep.features import VGG19Transformer
    >>> VGG19Transformer("stage4").layer
    'stage4'
    """
    _check(parameters)
    return ImageFeatures("vgg19", layer, weights=weights, **parameters)

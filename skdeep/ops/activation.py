"""Activations: functions of one float32 tensor, element by element.

They raise ValueError when the tensor is not float32. NaN stays NaN.
"""

import math

from ..kernels import activation as _activation  # noqa: F401, the kernels are made there
from .elementwise import _unary

__all__ = [
    "clip",
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "leaky_relu",
    "mish",
    "quick_gelu",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]

Clip, ClipGrad = _unary(__name__, "Clip", "clip", "x", 0.1, ("low", "high"))
Elu, EluGrad = _unary(__name__, "Elu", "elu", "y", 0.4, ("alpha",))
Gelu, GeluGrad = _unary(__name__, "Gelu", "gelu", "x", 0.8)
Hardsigmoid, HardsigmoidGrad = _unary(__name__, "Hardsigmoid", "hardsigmoid", "y", 0.1)
Hardswish, HardswishGrad = _unary(__name__, "Hardswish", "hardswish", "x", 0.1)
LeakyRelu, LeakyReluGrad = _unary(__name__, "LeakyRelu", "leaky_relu", "x", 0.1, ("slope",))
Mish, MishGrad = _unary(__name__, "Mish", "mish", "x", 0.6)
QuickGelu, QuickGeluGrad = _unary(__name__, "QuickGelu", "quick_gelu", "x", 0.4)
Relu, ReluGrad = _unary(__name__, "Relu", "relu", "y", 0.1)
Selu, SeluGrad = _unary(__name__, "Selu", "selu", "y", 0.4)
Sigmoid, SigmoidGrad = _unary(__name__, "Sigmoid", "sigmoid", "y", 0.4)
Silu, SiluGrad = _unary(__name__, "Silu", "silu", "x", 0.4)
Softplus, SoftplusGrad = _unary(__name__, "Softplus", "softplus", "y", 0.9)
Tanh, TanhGrad = _unary(__name__, "Tanh", "tanh", "y", 0.4)


def clip(x, low=None, high=None):
    """x limited to [low, high]: min(max(x, low), high).

    Parameters
    ----------
    x : float32 Tensor
    low, high : float or None
        None for no limit.

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient is zero outside the limits.

    Raises
    ------
    ValueError
        When ``low`` exceeds ``high``, or ``x`` is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.clip(x, 0.0, 6.0)], {x: [-1.0, 2.0, 8.0]})[0]
    array([0., 2., 6.], dtype=float32)
    """
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    if not low <= high:
        raise ValueError(f"clip: low must not exceed high, got {low} and {high}")
    return Clip(x, low=low, high=high).output


def elu(x, alpha=1.0):
    """Exponential linear unit: x above zero, ``alpha * (exp(x) - 1)`` below.

    Parameters
    ----------
    x : float32 Tensor
    alpha : float
        Not negative.

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When ``alpha`` is negative, or ``x`` is not float32.

    References
    ----------
    Clevert, Unterthiner & Hochreiter, Fast and accurate deep network learning by exponential linear
    units (ELUs), 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.elu(x)], {x: [-1.0, 0.0, 2.0]})[0].round(4)
    array([-0.6321,  0.    ,  2.    ], dtype=float32)
    """
    if alpha < 0:
        raise ValueError(f"elu: alpha must not be negative, got {alpha}")
    return Elu(x, alpha=float(alpha)).output


def gelu(x):
    """Gaussian error linear unit ``x * (1 + erf(x / sqrt(2))) / 2``; exact, not by tanh.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Hendrycks & Gimpel, Gaussian error linear units (GELUs), 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.gelu(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    return Gelu(x).output


def hardsigmoid(x):
    """Sigmoid of three straight pieces: ``x / 6 + 1 / 2`` limited to [0, 1].

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient outside -3 .. 3 is zero.

    References
    ----------
    Howard et al., Searching for MobileNetV3, 2019.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((4,))
    >>> graph.program.evaluate([ops.hardsigmoid(x)], {x: [-4.0, 0.0, 1.5, 9.0]})[0]
    array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)
    """
    return Hardsigmoid(x).output


def hardswish(x):
    """Swish with straight pieces, ``x * hardsigmoid(x)``.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Howard et al., Searching for MobileNetV3, 2019.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((4,))
    >>> graph.program.evaluate([ops.hardswish(x)], {x: [-4.0, -1.5, 1.5, 9.0]})[0]
    array([ 0.   , -0.375,  1.125,  9.   ], dtype=float32)
    """
    return Hardswish(x).output


def leaky_relu(x, slope=0.01):
    """Leaky rectifier: x above zero, ``slope * x`` below.

    Parameters
    ----------
    x : float32 Tensor
    slope : float

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is ``slope``.

    References
    ----------
    Maas, Hannun & Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.leaky_relu(x, 0.5)], {x: [-1.0, 0.0, 2.0]})[0]
    array([-0.5,  0. ,  2. ], dtype=float32)
    """
    return LeakyRelu(x, slope=float(slope)).output


def quick_gelu(x):
    """The approximation ``x * sigmoid(1.702 * x)`` of :func:`gelu`, as CLIP was trained with.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Hendrycks & Gimpel, Gaussian error linear units (GELUs), 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.quick_gelu(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.1542,  0.    ,  0.8458], dtype=float32)
    """
    return QuickGelu(x).output


def relu(x):
    """Rectified linear unit max(x, 0).

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is zero.

    References
    ----------
    Nair & Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.relu(x)], {x: [-1.0, 0.0, 2.0]})[0]
    array([0., 0., 2.], dtype=float32)
    """
    return Relu(x).output


def selu(x):
    """Scaled ELU, ``1.0507 * elu(x, 1.6733)``: activations keep mean 0 and variance 1.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Klambauer et al., Self-normalizing neural networks, 2017.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.selu(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-1.1113,  0.    ,  1.0507], dtype=float32)
    """
    return Selu(x).output


def sigmoid(x):
    """Logistic function 1 / (1 + exp(-x)), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.sigmoid(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([0.1192, 0.5   , 0.8808], dtype=float32)
    """
    return Sigmoid(x).output


def mish(x):
    """Smooth activation ``x * tanh(softplus(x))``, without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Misra, Mish: a self regularized non-monotonic activation function, 2020.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.mish(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.3034,  0.    ,  0.8651], dtype=float32)
    """
    return Mish(x).output


def silu(x):
    """Sigmoid linear unit ``x * sigmoid(x)``, also called swish.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Elfwing, Uchibe & Doya, Sigmoid-weighted linear units for neural network function approximation
    in reinforcement learning, 2018.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.silu(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([-0.2384,  0.    ,  1.7616], dtype=float32)
    """
    return Silu(x).output


def softplus(x):
    """Smooth rectifier log(1 + exp(x)), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.softplus(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([0.1269, 0.6931, 2.1269], dtype=float32)
    """
    return Softplus(x).output


def tanh(x):
    """Hyperbolic tangent (exp(2 x) - 1) / (exp(2 x) + 1), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.tanh(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.7616,  0.    ,  0.7616], dtype=float32)
    """
    return Tanh(x).output

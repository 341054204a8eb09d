"""How weights start: variance scaling (Glorot, He, LeCun), orthogonal, constant."""

import math

import numpy as np
from sklearn.base import BaseEstimator

from .._validation import NOT_NEGATIVE, VALUES, check_parameters

__all__ = ["Constant", "Glorot", "He", "Initializer", "LeCun", "Orthogonal"]


def fans(shape):
    """Inputs and outputs of one unit: (fan_in, fan_out) of a weight of the given shape.

    Dense weights are (n_in, n_out); convolution weights (kh, kw, c_in / groups, c_out).
    """
    if len(shape) < 2:
        return max(shape, default=1), max(shape, default=1)
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


class Initializer(BaseEstimator):
    """Base class; a subclass gives ``__call__(shape, rng) -> float32 array``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.layers import Dense, Initializer
    >>> class Ramp(Initializer):
    ...     def __call__(self, shape, rng):
    ...         return np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    >>> Dense(3, weight_init=Ramp())
    Dense(units=3, weight_init=Ramp())
    """

    def __call__(self, shape, rng):
        """Draw an array of the given shape with a :class:`numpy.random.RandomState`."""
        raise TypeError(f"{type(self).__name__} must define __call__(shape, rng)")


class _VarianceScaling(Initializer):
    _rules = {"gain": NOT_NEGATIVE}

    def __init__(self, distribution="uniform", gain=1.0):
        self.distribution = distribution
        self.gain = gain

    def __call__(self, shape, rng):
        """Draw an array of the given shape."""
        check_parameters(self)
        deviation = self.gain * math.sqrt(self._variance(*fans(shape)))
        if self.distribution == "uniform":
            bound = math.sqrt(3.0) * deviation
            return rng.uniform(-bound, bound, shape).astype(np.float32)
        if self.distribution == "normal":
            return (rng.standard_normal(shape) * deviation).astype(np.float32)
        raise ValueError(
            f"{type(self).__name__}(distribution={self.distribution!r}): "
            "choose 'uniform' or 'normal'."
        )


class Glorot(_VarianceScaling):
    """Variance 2 / (fan_in + fan_out), for tanh, sigmoid and linear units.

    Parameters
    ----------
    distribution : {"uniform", "normal"}, default="uniform"
    gain : float, default=1.0
        Factor on the standard deviation.

    References
    ----------
    Glorot & Bengio, Understanding the difficulty of training deep feedforward networks, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.layers import Glorot
    >>> Glorot()((64, 32), np.random.RandomState(0)).shape
    (64, 32)
    """

    @staticmethod
    def _variance(fan_in, fan_out):
        return 2.0 / (fan_in + fan_out)


class He(_VarianceScaling):
    """Variance 2 / fan_in, for relu and its relatives.

    Parameters
    ----------
    distribution : {"uniform", "normal"}, default="uniform"
    gain : float, default=1.0
        Factor on the standard deviation.

    References
    ----------
    He et al., Delving deep into rectifiers, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.layers import He
    >>> He("normal")((3, 3, 8, 16), np.random.RandomState(0)).dtype
    dtype('float32')
    """

    @staticmethod
    def _variance(fan_in, fan_out):
        return 2.0 / fan_in


class LeCun(_VarianceScaling):
    """Variance 1 / fan_in, for selu and linear units.

    Parameters
    ----------
    distribution : {"uniform", "normal"}, default="uniform"
    gain : float, default=1.0
        Factor on the standard deviation.

    References
    ----------
    LeCun et al., Efficient BackProp, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.layers import LeCun
    >>> LeCun("normal")((10, 5), np.random.RandomState(0)).shape
    (10, 5)
    """

    @staticmethod
    def _variance(fan_in, fan_out):
        return 1.0 / fan_in


class Orthogonal(Initializer):
    """Rows or columns orthonormal, times ``gain``.

    Parameters
    ----------
    gain : float, default=1.0

    References
    ----------
    Saxe et al., Exact solutions to the nonlinear dynamics of learning, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.layers import Orthogonal
    >>> w = Orthogonal()((4, 3), np.random.RandomState(0))
    >>> bool(np.allclose(w.T @ w, np.eye(3), atol=1e-6))
    True
    """

    _rules = {"gain": NOT_NEGATIVE}

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, shape, rng):
        """Draw an array of the given shape."""
        check_parameters(self)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        a = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(a)
        q = q * np.sign(np.diagonal(r))
        if rows < columns:
            q = q.T
        return (self.gain * q).reshape(shape).astype(np.float32)


class Constant(Initializer):
    """The same number everywhere, or a given array.

    Parameters
    ----------
    value : float or array-like, default=0.0

    Examples
    --------
    >>> from skdeep.layers import Constant
    >>> Constant(0.5)((2,), None)
    array([0.5, 0.5], dtype=float32)
    """

    _rules = {"value": VALUES}

    def __init__(self, value=0.0):
        self.value = value

    def __call__(self, shape, rng):
        """Array of the given shape."""
        check_parameters(self)
        return np.array(np.broadcast_to(np.asarray(self.value, np.float32), shape))


INITIALIZERS = {
    "glorot_uniform": Glorot("uniform"),
    "glorot_normal": Glorot("normal"),
    "he_uniform": He("uniform"),
    "he_normal": He("normal"),
    "lecun_uniform": LeCun("uniform"),
    "lecun_normal": LeCun("normal"),
    "glorot": Glorot("uniform"),
    "he": He("uniform"),
    "lecun": LeCun("uniform"),
    "orthogonal": Orthogonal(),
    "zeros": Constant(0.0),
    "ones": Constant(1.0),
}
_FOR_ACTIVATION = {
    "relu": "he_uniform",
    "relu6": "he_uniform",
    "leaky_relu": "he_uniform",
    "elu": "he_uniform",
    "gelu": "he_uniform",
    "quick_gelu": "he_uniform",
    "silu": "he_uniform",
    "mish": "he_uniform",
    "selu": "lecun_normal",
}


def resolve_initializer(init, activation=None):
    """The initializer of a name, a callable or a number; "auto" looks at the activation.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(init, str) and init == "auto":
        name = activation if isinstance(activation, str) else None
        init = _FOR_ACTIVATION.get(name, "glorot_uniform")
    if isinstance(init, str) and init in INITIALIZERS:
        return INITIALIZERS[init]
    if callable(init) and not isinstance(init, type):
        return init
    if VALUES.holds(init):
        return Constant(init)
    raise ValueError(
        f"Unknown initializer {init!r}; choose 'auto', one of {sorted(INITIALIZERS)}, or pass "
        f"{VALUES.text}, or an Initializer (an object, not its class)."
    )

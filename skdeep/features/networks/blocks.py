"""What several families of networks are built of."""

from ...layers import BatchNorm, Conv2D, Residual, Sequential

__all__ = ["conv_norm", "numbered", "residual_where_it_fits", "rounded"]


def conv_norm(filters, kernel_size, activation=None, *, stride=1, groups=1, epsilon=1e-5):
    """Convolution without bias, "0", and batch norm with an activation, "1"; odd kernel sizes."""
    convolution = Conv2D(
        filters,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        use_bias=False,
    )
    return Sequential([("0", convolution), ("1", BatchNorm(activation, epsilon=epsilon))])


def numbered(layers):
    """Layers in a row, named by their places."""
    return Sequential([(f"{k}", layer) for k, layer in enumerate(layers)])


def residual_where_it_fits(name, branch, stride, channels, filters):
    """The branch, added to its input where sizes and channels stay the same."""
    fits = stride == 1 and channels == filters
    return Residual([(name, branch)]) if fits else Sequential([(name, branch)])


def rounded(channels):
    """The nearest multiple of 8, or the next one where that would be under nine tenths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near

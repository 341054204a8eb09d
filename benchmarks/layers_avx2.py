"""Winograd's layers with vectors of 256 bits: skdeep and oneDNN, both kept from wider ones.

Convolutions of 3x3 with stride 1, float32, one by one on one core, as in `layers`. skdeep runs with
`SKDEEP_ISA=avx2`, PyTorch's oneDNN with `ONEDNN_MAX_CPU_ISA=AVX2`.
"""

import os

import common
import layers

LIMITS = {"SKDEEP_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
CHANNELS = 16  # from which on skdeep takes Winograd's algorithm
TARGET = "at least 2x"


def measure(context):
    """Every layer of :mod:`layers` that Winograd's algorithm is for, with one image and four."""
    peak, found = layers.units(), []
    for name, size, c, f, kernel, stride, padding in layers.CONVOLUTIONS:
        if (kernel, stride) != (3, 1) or c < CHANNELS:
            continue
        for batch in (1, 4):
            lines = layers.layer_lines(
                context,
                layers.convolution_title(name, size, c, f, kernel, stride, batch),
                (batch, size, size, c),
                (kernel, kernel, c, f),
                (stride, padding),
                peak,
                openvino=False,
            )
            for line in lines:
                if "oneDNN" in line.peer:
                    line.target = TARGET
            found += lines
        if context.quick:
            break
    return found


if __name__ == "__main__":
    os.environ.update(LIMITS)
    common.main("layers_avx2", __doc__, measure, repetitions=5)

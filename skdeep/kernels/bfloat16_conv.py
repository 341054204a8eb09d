"""Products of bfloat16: the register tile of pairs, packed weights, and convolutions of them.

A product reads *pairs* of neighbouring terms as words of four bytes. Where the CPU multiplies such
pairs (AVX512-BF16, ``vdpbf16ps``) twice as many products take the time of float32's; elsewhere both
halves are widened to float32 in registers. Sums are float32, whatever the output is.

Panels are those of :mod:`skdeep.kernels.panels` with a pair in place of a float. In units of words
a product or a convolution of bfloat16 has the sizes of one of float32 with half the channels, and
is cut and visited in the same way.

Measured on one Zen 4 core (float32: 117 GFLOP/s), panels in L1: 234 for tiles of 8 x 3 and 8 x 2
vectors; widened 108-117, with AVX2 115.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .bfloat16 import (
    HALF,
    PAIRS,
    BFloat,
    first_halves,
    load_half,
    pair_up,
    second_halves,
    store_half,
    store_half_first,
)
from .compiler import kernel, shared
from .conv import convolve, convolve_slice
from .dense import RUN, multiply
from .gemm import ROW_TILE_ARGUMENTS, Tile, emit_row_tile, tile_function, tile_rows
from .panels import count_panels, count_vectors, panel_first
from .simd import (
    I32,
    I64,
    VECTOR_BYTES,
    VI,
    WIDTH,
    V,
    call_llvm,
    fill,
    load_n,
    multiply_add,
    pointer,
    splat,
)

# Sums of a part of the terms are kept in the output, which must be float32 for that: other products
# are not cut.
MOST = 1 << 40
ZERO = np.float32(0)


class PairTile(Tile):
    """A row tile whose terms are pairs of bfloat16, and whose output is bfloat16 or float32."""

    may_be_half = False

    def _either(self, wide, change):
        """Code for both kinds of output; ``change(wide)`` emits one."""
        builder = self.builder
        with builder.if_else(builder.icmp_signed("!=", wide, ir.Constant(I64, 0))) as (yes, no):
            with yes:
                change(True)
            with no:
                change(False)

    def _at(self, row, v):
        return self.builder.add(row, ir.Constant(I64, HALF * v))

    def add(self, rows, valid, wide):
        builder, more = self.builder, super().add

        def change(is_wide):
            if is_wide:
                more(rows, valid, wide)
            else:
                self.update(
                    lambda m, v, x: builder.fadd(x, load_half(builder, self._at(rows[m], v)))
                )

        self._either(wide, change)

    def finish(self, out, valid, wide, lanes):
        builder = self.builder

        def change(is_wide):
            if is_wide:
                self.write(out, valid)
                return
            for m in range(self.rows):
                for v in range(self.vectors):
                    address, value = self._at(out[m], v), builder.load(self.slots[m][v])
                    if v + 1 < self.vectors:
                        store_half(builder, value, address)
                    else:
                        store_half_first(builder, value, address, lanes)

        self._either(wide, change)

    def outer(self, scalars, b):
        builder = self.builder
        row = [
            builder.load(
                pointer(builder, builder.add(b, ir.Constant(I64, VECTOR_BYTES * v)), VI), align=4
            )
            for v in range(self.vectors)
        ]
        pairs = [builder.load(pointer(builder, s, I32), align=2) for s in scalars]
        if PAIRS:
            self._products(pairs, row, lambda bits: builder.bitcast(bits, _PAIR_VECTOR), _add_pairs)
            return
        for half in (first_halves, second_halves):
            self._products(pairs, row, lambda bits, half=half: half(builder, bits), multiply_add)

    def _products(self, pairs, row, view, add):
        """acc[m, v] = add(view(pair m), view(row v), acc[m, v])."""
        builder = self.builder
        b = [view(bits) for bits in row]
        for m, pair in enumerate(pairs):
            a = view(splat(builder, pair))
            for v in range(self.vectors):
                slot = self.slots[m][v]
                builder.store(add(builder, a, b[v], builder.load(slot)), slot)


_PAIR_VECTOR = ir.VectorType(BFloat(), 2 * WIDTH)


def _add_pairs(builder, a, b, total):
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * WIDTH}"
    return call_llvm(builder, name, V, total, a, b)


ROW_TILE_BF16 = tile_function(
    "skdeep_row_tile_bf16", ROW_TILE_ARGUMENTS, emit_row_tile,
    "A row tile of pairs of bfloat16.", lanes=-2, kind=PairTile,
)  # fmt: skip


@intrinsic
def row_tile_bf16(typingctx, rows, vectors, table, panel, pitch, nu, au, bu, nv, av, bv, run, bias,
                  add, wide, low, high, lanes, ahead):  # fmt: skip
    """As :func:`~skdeep.kernels.gemm.row_tile`, with ``run`` pairs of bfloat16 as terms.

    ``bias`` is float32; the output and ``add`` are float32 if ``wide``, else bfloat16.
    """

    def emit(context, builder, sig, args):
        ROW_TILE_BF16.call(builder, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 15, types.float32, types.float32, *[types.int64] * 2), emit


# ---- weights -------------------------------------------------------------------------------------


@kernel
def pack_pairs(p, tile):
    """Panels of pairs of the rows of matrices side by side. One tile per panel.

    p = [w, out, taps, c, n, matrices]; w is (taps, c, matrices * n). The last of an odd number c
    of rows has zeros beside it.
    """
    w, out, taps, c, n, matrices = p[0], p[1], p[2], p[3], p[4], p[5]
    panels = count_panels(n)
    group, panel = tile // panels, tile % panels
    first, end = panel_first(n, panel), panel_first(n, panel + 1)
    stride = 4 * n * matrices
    step = VECTOR_BYTES * (end - first)
    out += VECTOR_BYTES * taps * ((c + 1) // 2) * (group * count_vectors(n) + first)
    for v in range(first, end):
        lanes = min(WIDTH, n - v * WIDTH)
        source, target = w + 4 * (group * n + v * WIDTH), out + VECTOR_BYTES * (v - first)
        for _ in range(taps):
            for k in range(0, c, 2):
                one = load_n(source, lanes)
                other = load_n(source + stride, lanes) if k + 1 < c else fill(ZERO)
                pair_up(target, one, other)
                source += stride if k + 1 == c else 2 * stride
                target += step


# ---- products and convolutions -------------------------------------------------------------------


@kernel
def dense_rows_bf16(p, tile):
    """out (n, f) = clamp(bias + add + x (n, c) times panels) for bfloat16.

    p = [x, panels, bias, out, add, wide, low, high, n, pairs of c, f, rows and panels of a tile,
    elements from one row of out to the next]; bias is float32, out and add are float32 if
    ``wide``, else bfloat16.
    """
    closing = p[5], p[5]
    element, limit = (4, RUN) if p[5] != 0 else (2, MOST)
    multiply(p, tile, row_tile_bf16, tile_rows, closing, element, limit)


@shared
def convolve_bf16(p, images, i_start, i_stop, x, out, weights, vectors, lanes, u_start, u_stop,
                  v_start, v_stop, offset, so_far, last, final):  # fmt: skip
    """Some taps of a convolution of bfloat16 with one panel of weights."""
    convolve_slice(p, row_tile_bf16, tile_rows, images, i_start, i_stop, x, out, weights, vectors,
                   lanes, u_start, u_stop, v_start, v_stop, offset, so_far, last,
                   final)  # fmt: skip


@kernel
def conv_rows_bf16(p, tile):
    """Convolution of bfloat16 with packed pairs; see :func:`~skdeep.kernels.conv.conv_rows`.

    p is as there, with ``wide`` in place of the mask and pairs of channels in place of channels;
    bias is float32, out and add are float32 if ``wide``, else bfloat16.
    """
    closing = p[5], p[5]
    convolve(p, tile, convolve_bf16, closing, 4 if p[5] != 0 else 2)

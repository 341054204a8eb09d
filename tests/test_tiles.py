"""Products on tile registers: blocks and their edges, when they are taken, what they become.

On machines without AMX the registers are memory; the code around them is the same.
"""

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from checks import leaf
from llvmlite import binding, ir
from test_bfloat16 import both, close, images, naive_convolution, normal, rounded

from skdeep import ops
from skdeep.graph.op import topological
from skdeep.graph.passes import optimize
from skdeep.graph.precision import to_bfloat16
from skdeep.graph.program import evaluate
from skdeep.kernels import isa, tiles
from skdeep.kernels.bfloat16_tiles import STEP, define_block
from skdeep.kernels.gemm import ROW_TILE_ARGUMENTS, TABLE_ROWS, VECTORS
from skdeep.kernels.simd import WIDTH
from skdeep.ops import bfloat16
from skdeep.ops.bfloat16 import Conv2DBfloat16, DenseBfloat16, PackPairs

# ---- products and convolutions -------------------------------------------------------------------


def product(kind, x, w, b, residual, wide, **attributes):
    """min(max(product + b + residual, -1), 3) and its feeds."""
    t, feeds = images(x)
    tw, tb, r = leaf(w), None, None
    feeds[tw] = w
    if b is not None:
        tb = leaf(b)
        feeds[tb] = b
    if residual is not None:
        r, more = (leaf(residual), {}) if wide else images(residual)
        feeds |= more or {r: residual}
    panels = PackPairs(tw, groups=attributes.get("groups", 1)).output
    made = kind(t, panels, tb, r, wide=wide, low=-1.0, high=3.0, algorithm="tiles", **attributes)
    return [made.output], feeds


def dense(x, w, b=None, residual=None, wide=True, after=None):
    return product(DenseBfloat16, x, w, b, residual, wide, filters=w.shape[1], after=after)


def convolution(x, w, b=None, residual=None, wide=True, **geometry):
    geometry = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1,
                **geometry}  # fmt: skip
    return product(Conv2DBfloat16, x, w, b, residual, wide, kernel=w.shape, **geometry)


def near(found, expected, terms):
    if found.dtype == np.uint16:
        close(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6 * np.sqrt(terms))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("c", [2, STEP - 2, STEP, STEP + 2, 3 * STEP + 6])
def test_every_number_of_rows_and_columns(c, wide):
    """Blocks of one and two groups, whole and not, and panels of all widths."""
    columns = [1, WIDTH - 1, WIDTH, VECTORS * WIDTH, (VECTORS + 1) * WIDTH + 3, 100]
    for k, n in enumerate([1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 70]):
        f = columns[k % len(columns)]
        f += f % 2 * (not wide)
        x, w, residual = normal(1, n, c), normal(2, c, f), normal(3, n, f)
        b = np.random.default_rng(4).standard_normal(f).astype(np.float32)
        expected = np.clip(x.astype(np.float64) @ w + b + residual, -1, 3)
        (found,) = both(*dense(x, w, b, residual, wide))
        near(found, expected, c)


def test_long_sums_go_through_the_output():
    x, w, b = normal(1, 35, 4500), normal(2, 4500, 21), np.ones(21, np.float32)
    residual = normal(3, 35, 21)
    (found,) = both(*dense(x, w, b, residual))
    expected = np.clip(x.astype(np.float64) @ w + b + residual, -1, 3)
    np.testing.assert_allclose(found, expected, atol=2e-4)


GEOMETRIES = [  # n, h, w, c, f, kernel, stride, padding, dilation, groups
    (1, 3, 41, 64, 5, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (2, 7, 7, 40, 3 * WIDTH, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (1, 12, 35, 6, 10, (3, 3), (2, 2), ((1, 0), (0, 1)), (1, 1), 1),
    (2, 6, 37, 34, WIDTH + 2, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    (1, 6, 36, 130, 34, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (3, 9, 20, 12, 2 * WIDTH + 2, (2, 3), (1, 2), ((0, 2), (1, 1)), (1, 2), 1),
    (2, 6, 18, 96, 9, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    (1, 5, 40, 68, 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    (40, 2, 2, 36, 24, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (1, 4, 5, 700, 6, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    (1, 1, 1, 8, 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (2, 4, 5, 2, 4, (3, 3), (2, 2), ((3, 0), (0, 3)), (1, 1), 1),
]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("case", GEOMETRIES, ids=str)
def test_convolution(case, wide):
    n, h, width, c, f, kernel, stride, padding, dilation, groups = case
    wide = wide or f % 2 == 1
    x, w = normal(1, n, h, width, c), normal(2, *kernel, c // groups, f)
    b = np.random.default_rng(3).standard_normal(f).astype(np.float32)
    expected = naive_convolution(x, w, b, stride, padding, dilation, groups)
    residual = normal(4, *expected.shape)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for r in (residual, None):
        (found,) = both(*convolution(x, w, b if r is None else None, r, wide, **geometry))
        sums = expected if r is None else expected - b + residual
        near(found, np.clip(sums, -1, 3), w[..., 0].size)


def test_pixels_do_not_touch_one_another():
    """NaN and infinity stay in the outputs that see them, also at both ends of a row of pixels."""
    x, w = normal(1, 1, 5, 40, 12), normal(2, 1, 3, 12, 18)
    (clean,) = evaluate(*convolution(x, w))
    x[0, 1, 17, 11], x[0, 3, 0, 0], x[0, 3, 39, 11] = np.nan, np.inf, -np.inf
    (found,) = evaluate(*convolution(x, w))
    seen = np.zeros(found.shape, bool)
    seen[0, 1, 15:18] = seen[0, 3, 0] = seen[0, 3, 37] = True
    np.testing.assert_array_equal(found[~seen], clean[~seen])
    assert np.isnan(found[0, 1, 15:18]).all()
    assert np.isin(found[0, 3, [0, 37]], [-1, 3]).all()


def test_an_activation_may_follow():
    x, w = normal(1, 37, 70), normal(2, 70, 2 * WIDTH + 2)
    for wide in (False, True):
        before = np.clip(x.astype(np.float64) @ w, -1, 3)
        if not wide:
            before = rounded(before)  # it is computed from what is stored
        (found,) = both(*dense(x, w, wide=wide, after="quick_gelu"))
        near(found, before / (1 + np.exp(-1.702 * before)), 70)


def test_infinite_weights_meet_their_pixels_alone():
    """Not the zeros after the last pair."""
    for c in (6, STEP + 2):
        x, w = normal(1, 20, c), normal(2, c, 5)
        w[0, 3], w[c - 2, 1] = np.inf, -np.inf
        (found,) = both(*dense(x, w))
        near(found, np.clip(x.astype(np.float64) @ w, -1, 3), c)


@pytest.mark.parametrize("c", [6, 3 * STEP, 3 * STEP + 2])
def test_results_do_not_depend_on_the_company(c):
    """A sample alone, in any part of a batch, and in all of it: the same bits."""
    x, w = normal(1, 70, c), normal(2, c, 50)

    def rows(part):
        return evaluate(*dense(part, w, wide=False))[0]

    whole = rows(x)
    for start, stop in [(0, 1), (69, 70), (3, 20), (16, 48), (5, 70)]:
        np.testing.assert_array_equal(rows(x[start:stop]), whole[start:stop])
    images = normal(3, 6, 9, 11, c)
    w = normal(4, 3, 3, c, 20)
    padding = ((1, 1), (1, 1))

    def pictures(part):
        return evaluate(*convolution(part, w, wide=False, padding=padding))[0]

    whole = pictures(images)
    for start, stop in [(0, 1), (2, 5), (5, 6)]:
        np.testing.assert_array_equal(pictures(images[start:stop]), whole[start:stop])


def test_a_product_of_tiles_by_its_definition():
    """The first and the second terms of ``WIDTH`` pairs are summed apart, then join the rest."""
    c = 3 * STEP
    x, w = normal(1, 33, c), normal(2, c, 20)
    (found,) = evaluate(*dense(x, w))
    total = np.zeros((33, 20), np.float32)
    for k in range(0, c, STEP):
        halves = np.zeros((2, 33, 20), np.float32)
        for t in range(STEP):
            exact = np.float64(x[:, k + t, None]) * w[k + t]  # fits a float64, and so does the sum
            halves[t % 2] = (halves[t % 2] + exact).astype(np.float32)
        total += halves[0] + halves[1]
    np.testing.assert_array_equal(found, np.clip(total, -1, 3))


# ---- when they are taken -------------------------------------------------------------------------


@pytest.fixture
def with_tiles(monkeypatch):
    """Decisions as on a processor with AMX."""
    decided = replace(isa.CHOICES["avx512_bf16"], tiles=True)
    monkeypatch.setattr(bfloat16, "current", lambda: decided)


def test_layers_with_enough_terms_take_tiles(with_tiles):
    t = leaf(np.zeros((2, 30, 30, 1)))
    shapes = {"first": (3, 3, 1, 32), "three": (3, 3, 32, 32), "one": (1, 1, 32, 64),
              "deep": (3, 3, 1, 64), "taps": (3, 3, STEP // 2, 64), "out": (64, 7),
              "few": (7, 7)}  # fmt: skip
    w = {name: leaf(np.zeros(shape)) for name, shape in shapes.items()}
    for tensor in w.values():
        tensor.role = "parameter"
    y = ops.conv2d(t, w["first"], padding=1)
    y = ops.relu(ops.conv2d(y, w["three"], padding=1))  # Winograd's in float32
    y = ops.conv2d(ops.conv2d(y, w["one"]), w["deep"], groups=64)
    y = ops.dense(ops.dense(ops.global_average_pool2d(y), w["out"]), w["few"])
    order = topological(to_bfloat16(optimize([y], training=False)))
    found = [op.algorithm for op in order if hasattr(op, "may_be_wide")]
    assert found == ["direct", "tiles", "tiles", "tiles", "direct"]
    narrow = leaf(np.zeros((1, 8, 8, STEP // 2)))
    for dilation, expected in (
        (1, "tiles"),
        (2, "direct"),
    ):  # three taps are one longer one, or not
        y = ops.conv2d(narrow, w["taps"], dilation=dilation, algorithm="direct")
        order = topological(to_bfloat16(optimize([y], training=False)))
        assert [op.algorithm for op in order if hasattr(op, "may_be_wide")] == [expected]


def test_networks_with_tiles_keep_their_results(with_tiles):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.standard_normal((3, 13, 11, 32)), "one": rng.standard_normal((3, 3, 32, 32)) / 12,
        "two": rng.standard_normal((1, 1, 32, 48)) / 4, "out": rng.standard_normal((48, 9)) / 4,
    }  # fmt: skip
    arrays = {name: rounded(a).astype(np.float32) for name, a in arrays.items()}
    t = {name: leaf(a) for name, a in arrays.items()}
    for name in ("one", "two", "out"):
        t[name].role = "parameter"
    y = ops.relu(ops.conv2d(t["x"], t["one"], padding=1) + t["x"])
    y = ops.dense(ops.global_average_pool2d(ops.relu(ops.conv2d(y, t["two"], stride=2))), t["out"])
    (y,) = to_bfloat16(optimize([y], training=False))
    (found,) = both([y], {t[name]: array for name, array in arrays.items()})
    assert {op.algorithm for op in topological([y]) if hasattr(op, "algorithm")} == {"tiles"}
    one = naive_convolution(arrays["x"], arrays["one"], None, (1, 1), ((1, 1), (1, 1)))
    one = rounded(np.maximum(one + arrays["x"], 0))
    two = naive_convolution(one, arrays["two"], None, (2, 2), ((0, 0), (0, 0)))
    expected = rounded(rounded(np.maximum(two, 0)).mean((1, 2))) @ arrays["out"]
    assert np.linalg.norm(found - expected) < 2e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("permitted", [False, True])
def test_the_system_must_permit_tile_registers(monkeypatch, permitted):
    everything = frozenset(flag for choice in isa.CHOICES.values() for flag in choice.flags)
    asked = []

    class System:
        def syscall(self, *numbers):
            asked.append([n.value for n in numbers])
            return 0 if permitted else -1

    monkeypatch.setattr(isa.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: System())
    for name in ("host_flags", "tiles_permitted", "usable"):
        monkeypatch.setattr(isa, name, getattr(isa, name).__wrapped__)
    monkeypatch.setattr(isa, "host_flags", lambda: everything)
    monkeypatch.delenv("SKDEEP_ISA", raising=False)
    decide = isa.current.__wrapped__
    assert decide().name == ("amx" if permitted else "avx512_bf16")
    assert asked[0] == [158, 0x1023, 18]
    monkeypatch.setenv("SKDEEP_ISA", "amx")
    if permitted:
        assert decide().tiles
    else:
        with pytest.raises(RuntimeError, match="system does not let the process use"):
            decide()
    monkeypatch.setenv("SKDEEP_ISA", "amx_emulated")
    assert decide().tiles and decide().flags == isa.CHOICES["avx512_bf16"].flags
    monkeypatch.setattr(isa, "host_flags", lambda: everything - {"amx-bf16"})
    asked.clear()
    monkeypatch.setenv("SKDEEP_ISA", "amx")
    with pytest.raises(RuntimeError, match=r"needs CPU features \['amx-bf16'\]"):
        decide()
    monkeypatch.delenv("SKDEEP_ISA")
    assert decide().name == "avx512_bf16" and not asked
    monkeypatch.setattr(isa.sys, "platform", "darwin")
    assert not isa.tiles_permitted()


# ---- what they become ----------------------------------------------------------------------------


def assembly(name, arguments, define):
    """Instructions of a function for a processor with AMX; nothing is run."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = ir.Module(name)
    module.triple = "x86_64-unknown-linux-gnu"
    define(ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name))
    target = binding.Target.from_triple(module.triple)
    machine = target.create_target_machine(cpu="sapphirerapids", opt=2)
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_assembly(parsed)


def tile_instructions(text):
    """Names and tiles of the instructions that touch tile registers, in order."""
    found = re.findall(r"^\s+(ldtilecfg|tile\w+|tdp\w+)\b(.*)$", text, re.MULTILINE)
    return [(name, *map(int, re.findall(r"%tmm(\d)", rest))) for name, rest in found]


def test_each_operation_is_one_instruction():
    def define(function):
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        registers = tiles.Registers(builder)
        registers.configure()
        registers.zero(2)
        registers.load(5, *function.args)
        registers.load(7, *function.args)
        registers.product(2, 5, 7)
        registers.store(2, *function.args)
        registers.release()
        builder.ret_void()

    text = assembly("each", [ir.IntType(64)] * 2, define)
    assert tile_instructions(text) == [
        ("ldtilecfg",), ("tilezero", 2), ("tileloadd", 5), ("tileloadd", 7),
        ("tdpbf16ps", 7, 5, 2),  # in AT&T's order: b, a, c
        ("tilestored", 2), ("tilerelease",),
    ]  # fmt: skip


def test_the_configuration_is_eight_tiles_of_16_rows_of_64_bytes():
    data = bytes(tiles.CONFIGURATION)
    assert len(data) == 64 and data[:2] == b"\1\0" and not any(data[2:16])
    assert np.frombuffer(data[16:48], np.uint16).tolist() == [64] * 8 + [0] * 8
    assert list(data[48:]) == [16] * 8 + [0] * 8


def test_blocks_are_products_of_what_was_loaded():
    """Every shape of a block: each product once, of the pixels and the columns that it is of."""
    text = assembly("block", ROW_TILE_ARGUMENTS, lambda f: define_block(f, tiles.Registers))
    found, blocks = tile_instructions(text), []
    stored = [used for name, *used in found if name == "tilestored"]
    for name, *used in found:
        if name == "tilezero" and (not blocks or blocks[-1][-1][0] != "tilezero"):
            blocks.append([])
        if name != "tilestored":
            blocks[-1].append((name, *used))
    shapes = []
    for block in blocks:
        sums = [used[0] for name, *used in block if name == "tilezero"]
        loads = [used[0] for name, *used in block if name == "tileloadd"]
        products = [used for name, *used in block if name == "tdpbf16ps"]
        assert sorted(c for _, _, c in products) == sums == list(range(len(sums)))
        assert not set(loads) & set(sums) and max(sums + loads) < tiles.TILES
        assert all([c] in stored for c in sums)
        shapes.append((len(sums), len(loads)))
    # Pixels are loaded once; columns once, or again for the other group where registers are few.
    loads = {(1, 1): 2, (1, 2): 3, (1, 3): 4, (2, 1): 3, (2, 2): 4, (2, 3): 7}
    assert TABLE_ROWS == 2 * tiles.TILE_ROWS
    assert sorted(shapes) == sorted((g * v, n) for (g, v), n in loads.items() if v <= VECTORS)
    two_by_two = [
        *(("tilezero", c) for c in range(4)),
        ("tileloadd", 4), ("tileloadd", 6), ("tdpbf16ps", 6, 4, 0),
        ("tileloadd", 7), ("tdpbf16ps", 7, 4, 1),
        ("tileloadd", 5), ("tdpbf16ps", 7, 5, 3), ("tdpbf16ps", 6, 5, 2),
    ]  # fmt: skip
    assert two_by_two in blocks

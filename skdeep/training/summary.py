"""What a network consists of and what it costs, as a table to read."""

import math
from dataclasses import dataclass
from html import escape

from ..graph.op import topological

# The shape of the weights that an operation multiplies with, filters last.
WEIGHTS = {
    "Conv2D": lambda op: op.inputs[1].shape,
    "Conv2DBfloat16": lambda op: op.kernel,
    "Dense": lambda op: op.inputs[1].shape,
    "DenseBfloat16": lambda op: (op.inputs[0].shape[-1], op.filters),
    "DepthwiseConv2D": lambda op: op.inputs[1].shape,
    "DepthwiseConv2DBfloat16": lambda op: op.inputs[1].shape,
}


@dataclass
class LayerSummary:
    """One operation of a network as it runs for prediction.

    Attributes
    ----------
    layer : str
        Path of the layer; layers fused into another one's operation have no line of their own.
    operation : str
        What is computed, with what has been fused into it.
    shape : tuple of int
        Output for one sample.
    parameters : int
        Weights it uses that no line before it does.
    multiply_adds : int
        For one sample, as a direct computation would need them.
    algorithm : str
        How a convolution or a product of bfloat16 is computed, else empty.
    packed_bytes : int
        Memory of what is derived from its weights: packed panels, folded batch norm.
    samples : int
        Samples that it takes at a time.
    """

    layer: str
    operation: str
    shape: tuple
    parameters: int
    multiply_adds: int
    algorithm: str
    packed_bytes: int
    samples: int


@dataclass
class Summary:
    """Layers, weights and memory of a network as it runs for prediction; prints as a table.

    Attributes
    ----------
    rows : list of LayerSummary
        In the order of execution.
    batch : int
        Samples of one block of work; every thread works on a block of its own.
    arena_bytes : int
        Memory of one thread for activations.
    live_bytes : int
        Of it, what must be alive at once at the worst place: no plan needs less.
    weight_bytes : int
        Weights as they are stored.
    packed_bytes : int
        What is derived from them, once for all threads.
    """

    rows: list
    batch: int
    arena_bytes: int
    live_bytes: int
    weight_bytes: int
    packed_bytes: int

    def _table(self):
        head = [
            "layer",
            "operation",
            "output",
            "weights",
            "MMAC",
            "algorithm",
            "packed",
            "at a time",
        ]
        lines = [
            [
                row.layer,
                row.operation,
                " x ".join(map(str, row.shape)),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.multiply_adds / 1e6:,.1f}" if row.multiply_adds else "",
                row.algorithm,
                _bytes(row.packed_bytes) if row.packed_bytes else "",
                str(row.samples),
            ]
            for row in self.rows
        ]
        return head, lines

    def _foot(self):
        total = sum(row.multiply_adds for row in self.rows)
        return [
            f"{sum(row.parameters for row in self.rows):,} weights, {_bytes(self.weight_bytes)}; "
            f"packed for speed, once for all threads: {_bytes(self.packed_bytes)}",
            f"{total / 1e9:,.2f} GMAC per sample, {self.batch} sample"
            f"{'s' if self.batch > 1 else ''} in a block",
            f"activations of one thread: {_bytes(self.arena_bytes)}, of which "
            f"{_bytes(self.live_bytes)} are alive at once ({self.overhead:.2f}x)",
        ]

    @property
    def overhead(self):
        """Memory for activations over what must be alive at once."""
        return self.arena_bytes / max(self.live_bytes, 1)

    def __repr__(self):
        table = format_text(*self._table(), right=(3, 4, 6, 7))
        rule = "-" * max(map(len, table.splitlines()))
        return "\n".join([table, rule, *self._foot()])

    def _repr_html_(self):
        foot = "<br>".join(map(escape, self._foot()))
        return f"{format_html(*self._table())}<p>{foot}</p>"


def format_text(head, lines, right=()):
    """A table as text; the columns ``right`` hold numbers."""
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    texts = [
        "  ".join(
            cell.rjust(w) if k in right else cell.ljust(w)
            for k, (cell, w) in enumerate(zip(line, widths))
        ).rstrip()
        for line in [head, *lines]
    ]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def format_html(head, lines):
    """A table for notebooks."""
    cells = "".join(f"<th>{escape(h)}</th>" for h in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"


def _bytes(n):
    units = ["B", "KB", "MB", "GB"]
    while n >= 1000 and len(units) > 1:
        n /= 1000
        units.pop(0)
    return f"{n:.0f} {units[0]}" if n >= 100 or units[0] == "B" else f"{n:.1f} {units[0]}"


def describe(op):
    """An operation in a few words: kernel size, stride, and what is fused."""
    kind = type(op).__name__
    name = kind.removesuffix("Bfloat16")
    narrow = name != kind
    window = WEIGHTS[kind](op)[:2] if "Conv2D" in kind else getattr(op, "size", None)
    if window:
        name += " {}x{}".format(*window)
    stride = getattr(op, "stride", (1, 1))
    if max(stride) > 1:
        name += f" / {stride[0]}" if stride[0] == stride[1] else f" / {stride}"
    if kind.startswith("Conv2D") and op.groups > 1:
        name += f", {op.groups} groups"
    if kind.startswith(("Conv2D", "Dense")) and op.inputs[-1] is not None:
        name += " + add"
    low, high = getattr(op, "low", -math.inf), getattr(op, "high", math.inf)
    if (low, high) == (0.0, math.inf):
        name += " + relu"
    elif (low, high) != (-math.inf, math.inf):
        name += f" + clip({low:g}, {high:g})"
    if getattr(op, "after", None):
        name += f" + {op.after}"
    return f"{name}, bfloat16" if narrow else name


def summarize(predictor):
    """The :class:`Summary` of a predictor."""
    sources = {offset: t for t, (_, offset) in predictor.places.items()}
    counted, packed, rows = set(), set(), []
    for stretch in predictor.stretches:
        for op in stretch.ops:
            if op.shares() or type(op).__name__ == "LoadRows":
                continue
            parameters = static = 0
            for t in op.inputs:
                if t is None or t.op is not None:
                    continue
                leaves = [t]
                if t.role == "static":
                    if t.offset not in packed:
                        packed.add(t.offset)
                        static += 4 * t.words
                    ops = topological([sources[t.offset]])
                    leaves = [s for o in ops for s in o.inputs if s is not None and s.op is None]
                for leaf in leaves:
                    if leaf.role in ("parameter", "state") and leaf.name not in counted:
                        counted.add(leaf.name)
                        parameters += leaf.size
            products = 0
            if type(op).__name__ in WEIGHTS:
                each = math.prod(WEIGHTS[type(op).__name__](op)[:-1])
                products = op.output.size * each // predictor.block
            rows.append(
                LayerSummary(
                    op.scope,
                    describe(op),
                    op.output.shape[1:],
                    parameters,
                    products,
                    getattr(op, "algorithm", None) or getattr(op, "algorithms", ("",))[0],
                    static,
                    stretch.samples,
                )
            )
    weights = sum(4 * n for n in predictor.network.parameters.sizes.values())
    return Summary(
        rows,
        predictor.block,
        4 * predictor.program.arena_size,
        4 * predictor.program.live_peak,
        weights,
        sum(row.packed_bytes for row in rows),
    )

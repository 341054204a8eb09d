"""Two small charts as SVG text: lines, and a matrix of counts.

matplotlib is an extra of this package; these need nothing. Colours follow the viewer's light or
dark setting.
"""

import math
from xml.sax.saxutils import escape

# Told apart by people with any colour vision, on white and on black (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 4")
STYLE = """
text { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 13px; fill: #24292f; }
.title { font-size: 16px; font-weight: 600; }
.paper { fill: #ffffff; }
.frame { fill: none; stroke: #57606a; }
.grid { stroke: #d0d7de; }
.cell { stroke: #ffffff; }
.on { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .paper { fill: #0d1117; }
  .frame { stroke: #8b949e; }
  .grid { stroke: #30363d; }
  .cell { stroke: #0d1117; }
  .on { fill: #ffffff; }
}
"""


def _document(width, height, title, body):
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}"/>',
            _text(width / 2, 26, title, anchor="middle", kind="title"),
            *body,
            "</svg>\n",
        ]
    )


def _text(x, y, text, *, anchor="start", kind=None, turn=None):
    more = f' class="{kind}"' if kind else ""
    if turn is not None:
        more += f' transform="rotate({turn} {x:.1f} {y:.1f})"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(str(text))}</text>'


def _line(kind, x1, y1, x2, y2):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def linear_ticks(low, high, most=8):
    """Round numbers, at most about ``most``, within [low, high].

    Examples
    --------
    >>> linear_ticks(0, 37)
    [0, 5, 10, 15, 20, 25, 30, 35]
    """
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(k * step, digits) if digits else round(k * step) for k in range(first, last + 1)]


def log_ticks(low, high):
    """Powers of ten within [low, high], with twos and fives when they are few.

    Examples
    --------
    >>> log_ticks(0.02, 3)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 5 else (1,)
    ticks = [float(f"{k}e{p}") for p in powers for k in steps]
    return [t for t in ticks if low <= t * (1 + 1e-9) and t <= high * (1 + 1e-9)]


def line_chart(series, *, title, x_label, y_label, log=False, width=760, height=440):
    """Lines over epochs 1, 2, ...

    Parameters
    ----------
    series : dict of str to sequence of float
        One line for each label; values that are not finite (or, with ``log``, not positive) are
        left out.
    title, x_label, y_label : str
    log : bool, default=False
        Logarithmic second axis.
    width, height : int

    Returns
    -------
    str
    """
    points = {
        label: [(k, v) for k, v in enumerate(values, 1) if math.isfinite(v) and (v > 0 or not log)]
        for label, values in series.items()
    }
    ys = [v for line in points.values() for _, v in line]
    if not ys:
        raise ValueError("line_chart needs at least one finite value.")
    scale = math.log10 if log else float
    low, high = scale(min(ys)), scale(max(ys))
    margin = 0.04 * (high - low) or 0.5
    low, high = low - margin, high + margin
    last = max(2, *(k for line in points.values() for k, _ in line), 2)
    left, top, right, bottom = 68, 44, width - 20, height - 52

    def place(x, y):
        share = (scale(y) - low) / (high - low)
        return left + (x - 1) / (last - 1) * (right - left), bottom - share * (bottom - top)

    body = []
    for tick in log_ticks(10**low, 10**high) if log else linear_ticks(low, high):
        _, y = place(1, tick)
        body.append(_line("grid", left, y, right, y))
        body.append(_text(left - 8, y + 4.5, f"{tick:g}", anchor="end"))
    for tick in (t for t in linear_ticks(1, last) if t == int(t)):
        x, _ = place(tick, 10**low if log else low)
        body.append(_line("grid", x, top, x, bottom))
        body.append(_text(x, bottom + 19, f"{tick:g}", anchor="middle"))
    body.append(
        f'<rect class="frame" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
    )
    body.append(_text((left + right) / 2, height - 12, x_label, anchor="middle"))
    body.append(_text(20, (top + bottom) / 2, y_label, anchor="middle", turn=-90))
    strokes = [
        f'fill="none" stroke="{COLOURS[k % len(COLOURS)]}" stroke-width="2.2" '
        f'stroke-dasharray="{DASHES[k % len(DASHES)]}"'
        for k in range(len(points))
    ]
    for stroke, line in zip(strokes, points.values()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        body.append(f'<polyline points="{path}" {stroke} stroke-linejoin="round"/>')
    return _document(width, height, title, body + _legend(list(points), strokes, right, top))


def _legend(labels, strokes, right, top):
    wide = 62 + 6.9 * max(map(len, labels))
    x, y = right - wide - 10, top + 10
    body = [
        f'<rect class="paper" x="{x:.1f}" y="{y}" width="{wide:.1f}" '
        f'height="{20 * len(labels) + 12}" opacity="0.85"/>'
    ]
    for k, (label, stroke) in enumerate(zip(labels, strokes)):
        middle = y + 16 + 20 * k
        ends = f'points="{x + 8:.1f},{middle} {x + 44:.1f},{middle}"'
        body += [f"<polyline {ends} {stroke}/>", _text(x + 52, middle + 4.5, label)]
    return body


def confusion_matrix_chart(counts, labels, *, title, cell=40):
    """Counts of true (rows) against predicted (columns) labels.

    What is right is blue, by its share of the row; mistakes are orange, by their number.

    Parameters
    ----------
    counts : array-like of int of shape (k, k)
    labels : sequence of length k
    title : str
    cell : int
        Width of one cell.

    Returns
    -------
    str
    """
    counts = [[int(v) for v in row] for row in counts]
    k = len(labels)
    longest = max(len(str(label)) for label in labels)
    left, top = 52 + 8 * longest, 72
    width, height = left + k * cell + 24, top + k * cell + 24
    worst = max([v for i, row in enumerate(counts) for j, v in enumerate(row) if i != j] + [1])
    body = [
        _text(left + k * cell / 2, 48, "predicted", anchor="middle"),
        _text(20, top + k * cell / 2, "true", anchor="middle", turn=-90),
    ]
    for i, row in enumerate(counts):
        y = top + i * cell
        middle = y + cell / 2 + 4.5
        body.append(_text(left - 8, middle, labels[i], anchor="end"))
        body.append(_text(left + (i + 0.5) * cell, top - 8, labels[i], anchor="middle"))
        for j, v in enumerate(row):
            x = left + j * cell
            share = v / max(1, sum(row)) if i == j else 0.35 + 0.65 * v / worst
            colour = COLOURS[0] if i == j else COLOURS[1]
            body.append(
                f'<rect class="cell" x="{x}" y="{y}" width="{cell}" height="{cell}" '
                f'fill="{colour}" fill-opacity="{share if v else 0:.3f}"/>'
            )
            if v:
                kind = "on" if share > 0.8 else None
                body.append(_text(x + cell / 2, middle, v, anchor="middle", kind=kind))
    body.append(
        f'<rect class="frame" x="{left}" y="{top}" width="{k * cell}" height="{k * cell}"/>'
    )
    return _document(width, height, title, body)

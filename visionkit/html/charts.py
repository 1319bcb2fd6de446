"""Charts inside a page: SVG and tables that are light or dark like the page, and sharp on every screen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.html.document import text

WIDTH, HEIGHT = 480, 270  # in units of the drawing, which the page scales
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
COLOURS = 8  # lines of a chart that can be told apart
POINTS = 80  # a line of at most this many points gets a dot with a tooltip on each of them

STYLE = """
.charts { display: grid; gap: 1em; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24em), 1fr)) }
.chart svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif }
.chart .grid { stroke: var(--line) } .chart text { fill: var(--soft) } .chart figcaption { font-weight: 600 }
.chart path { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round }
.chart circle { fill: currentColor } .chart .mark { stroke: var(--card); stroke-width: 2 }
.legend { font-size: .85em; color: var(--soft); display: flex; flex-wrap: wrap; gap: .1em 1em }
.legend i { display: inline-block; width: .9em; height: .25em; background: currentColor; margin-right: .4em;
  vertical-align: .25em }
.c0 { color: #2f6fed } .c1 { color: #e07b12 } .c2 { color: #1f9d63 } .c3 { color: #d6453d } .c4 { color: #9059d8 }
.c5 { color: #12a3b4 } .c6 { color: #d24a96 } .c7 { color: #8a7a2f }
.bar { display: inline-block; width: 6em; height: .55em; border-radius: .3em; background: var(--line); overflow: hidden;
  margin-right: .6em; vertical-align: .05em } .bar i { display: block; height: 100%; background: rgb(var(--blue)) }
.matrix td.cell { text-align: center; min-width: 2.6em; padding: .3em .4em; border: 2px solid var(--card);
  font-variant-numeric: tabular-nums; font-size: .85em; white-space: nowrap } .matrix td.deep { color: var(--card) }
.matrix th { padding: .2em .5em; white-space: nowrap } .matrix tr > th:first-child { text-align: right }
.matrix .tilted { writing-mode: vertical-rl; transform: rotate(180deg); vertical-align: bottom; text-align: left }
"""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: for the legend.
        x, y: equally many numbers; where one is not finite, the point is left out and its neighbours are joined.
        mark: the index of the point that matters most, counting only points that are drawn.
        step: the line goes vertically to the next y and then across, instead of slanting.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    mark: int | None = None
    step: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
) -> str:
    """A <figure> with lines over a grid; pointing at a dot shows its numbers.

    Args:
        title: what y is.
        lines: at most `COLOURS`.
        x_label: what x is.
        x_range, y_range: of the axes; by default what the lines need.
        log: a logarithmic y axis; points that are not above 0 are left out.
    """
    drawable = [_drawable(line, log) for line in lines]
    x_range = x_range or _range([x for points in drawable for x, _ in points])
    y_range = y_range or _range([y for points in drawable for _, y in points])
    y_axis = _log_ticks(*y_range) if log else _ticks(*y_range)
    low_x, high_x = x_range
    low_y, high_y = min(y_range[0], y_axis[0]), max(y_range[1], y_axis[-1])
    scale = math.log if log else float

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - low_x) / (high_x - low_x)
        up = (scale(y) - scale(low_y)) / (scale(high_y) - scale(low_y))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in y_axis:
        _, y = place(low_x, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(*x_range):
        if low_x <= value <= high_x:
            x, _ = place(value, low_y)
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{text(x_label)}</text>')
    for number, (line, points) in enumerate(zip(lines, drawable, strict=True)):
        parts.append(_drawn(line, points, place, number))
    entries = [f'<span><i class="c{n % COLOURS}"></i>{text(line.name)}</span>' for n, line in enumerate(lines)]
    legend = f'<div class="legend">{"".join(entries)}</div>' if len(lines) > 1 else ""
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>'
    return f'<figure class="chart card"><figcaption>{text(title)}</figcaption>{svg}{legend}</figure>'


def bar(share: float) -> str:
    """A small bar for a table; `share` of it, 0..1, is filled."""
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'


def matrix_table(matrix: np.ndarray, names: Sequence[str], short: Callable[[int], str] = str) -> str:
    """A confusion matrix as a table: rows are true classes, columns are predicted ones.

    The deeper the colour of a cell, the larger its share of the row. Right predictions are blue, wrong ones red.

    Args:
        matrix: int `[K, K]`.
        names: K names.
        short: turns a count into the text of its cell.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th class="tilted">{text(name)}</th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, predicted in enumerate(names):
            part, colour = share[i, j], "blue" if i == j else "red"
            style = f"background:rgba(var(--{colour}),{part:.2f})" if matrix[i, j] else ""
            title = f"{name} predicted as {predicted}: {matrix[i, j]:,} ({part:.1%})"
            deep = " deep" if part > 0.6 else ""
            count = short(matrix[i, j]) if matrix[i, j] else ""
            cells.append(f'<td class="cell{deep}" style="{style}" title="{text(title)}">{count}</td>')
        rows.append(f"<tr><th>{text(name)}</th>{''.join(cells)}</tr>")
    return f'<table class="matrix"><tr><th>true \\ predicted</th>{head}</tr>{"".join(rows)}</table>'


def _drawable(line: Line, log: bool) -> list[tuple[float, float]]:
    """The points of a line that have a place in the chart."""
    points = []
    for x, y in zip(line.x, line.y, strict=True):
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log):
            points.append((float(x), float(y)))
    return points


def _drawn(
    line: Line,
    points: Sequence[tuple[float, float]],
    place: Callable[[float, float], tuple[float, float]],
    number: int,
) -> str:
    """The SVG of one line: its path, and a dot with a tooltip for each point, or for the marked point alone.

    Args:
        line: gives the name, the mark and the shape.
        points: (x, y) of the drawable points.
        place: (x, y) -> units of the drawing.
        number: of the line, which decides its colour.
    """
    if not points:
        return ""
    placed = [place(x, y) for x, y in points]
    path = f"M{placed[0][0]:.1f} {placed[0][1]:.1f}"
    for x, y in placed[1:]:
        path += f"V{y:.1f}H{x:.1f}" if line.step else f"L{x:.1f} {y:.1f}"
    parts = [f'<path d="{path}"/>']
    for i, (x, y) in enumerate(placed):
        if len(points) > POINTS and i != line.mark:
            continue
        radius = 5 if i == line.mark else 2
        label = f"<title>{text(line.name)}: {points[i][1]:.4g} at {points[i][0]:g}</title>"
        mark = ' class="mark"' if i == line.mark else ""
        parts.append(f'<circle{mark} cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{label}</circle>')
    return f'<g class="c{number % COLOURS}">{"".join(parts)}</g>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest of the values, with some distance between them."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `count` of them."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or only those powers if there are many; from at most `low` to at least `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) < 5 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [t for i, t in enumerate(ticks) if ticks[min(i + 1, len(ticks) - 1)] > low and ticks[max(i - 1, 0)] < high]

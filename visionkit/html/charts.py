"""Charts inside a page: SVG and tables that are as light or dark as the page, and sharp on every screen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionkit.html.document import text

WIDTH, HEIGHT = 480, 270  # units of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
COLOURS = 8  # of lines that can be told apart
POINTS = 80  # as many of a line get a dot that says its numbers

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
        x, y: as many; a y that is not a number leaves a gap... of nothing: its neighbours are joined.
        mark: the place of the point that matters most.
        step: up or down to the next y at once, and then across, instead of slanting towards it.
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
    """A <figure> with lines over a grid; a dot says its numbers when it is pointed at.

    Args:
        title: what y is.
        lines: at most `COLOURS`.
        x_label: what x is.
        x_range, y_range: of the axes; by default what the lines need.
        log: y grows by factors; what is not above 0 is left out then.
    """
    known = [_known(line, log) for line in lines]
    x_range, y_range = x_range or _range([x for x, _ in known]), y_range or _range([y for _, y in known])
    y_axis = _log_ticks(*y_range) if log else _ticks(*y_range)
    y_range = min(y_range[0], y_axis[0]), max(y_range[1], y_axis[-1])

    def place(x, y):
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        low, high, value = (math.log(v) for v in (*y_range, y)) if log else (*y_range, y)
        up = (value - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in y_axis:
        _, y = place(x_range[0], value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(*x_range):
        if x_range[0] <= value <= x_range[1]:
            x, _ = place(value, y_range[0])
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{text(x_label)}</text>')
    for number, (line, (xs, ys)) in enumerate(zip(lines, known, strict=True)):
        parts.append(_drawn(line, xs, ys, place, number))
    entries = [f'<span><i class="c{n % COLOURS}"></i>{text(line.name)}</span>' for n, line in enumerate(lines)]
    legend = f'<div class="legend">{"".join(entries)}</div>' if len(lines) > 1 else ""
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>'
    return f'<figure class="chart card"><figcaption>{text(title)}</figcaption>{svg}{legend}</figure>'


def bar(share: float) -> str:
    """A small bar for a table; `share` of it, 0..1, is filled."""
    return f'<span class="bar"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'


def matrix_table(matrix: np.ndarray, names: Sequence[str], short=str) -> str:
    """A confusion matrix: rows are the truth, columns what was said. The deeper a colour, the larger its share of the
    row; what is right is blue, what is wrong red.

    Args:
        matrix: int `[K, K]`.
        names: K.
        short: makes the text of a count.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th class="tilted">{text(name)}</th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, said in enumerate(names):
            part, colour = share[i, j], "blue" if i == j else "red"
            style = f"background:rgba(var(--{colour}),{part:.2f})" if matrix[i, j] else ""
            title = f"{name}, said to be {said}: {matrix[i, j]:,} ({part:.1%})"
            deep = " deep" if part > 0.6 else ""
            written = short(matrix[i, j]) if matrix[i, j] else ""
            cells.append(f'<td class="cell{deep}" style="{style}" title="{text(title)}">{written}</td>')
        rows.append(f"<tr><th>{text(name)}</th>{''.join(cells)}</tr>")
    return f'<table class="matrix"><tr><th>is \\ said to be</th>{head}</tr>{"".join(rows)}</table>'


def _known(line, log):
    pairs = [(float(x), float(y)) for x, y in zip(line.x, line.y, strict=True)]
    return list(zip(*(p for p in pairs if all(map(math.isfinite, p)) and (p[1] > 0 or not log)), strict=True)) or [
        (),
        (),
    ]


def _drawn(line, xs, ys, place, number) -> str:
    points = [place(x, y) for x, y in zip(xs, ys, strict=True)]
    if not points:
        return ""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for x, y in points[1:]:
        path += f"V{y:.1f}H{x:.1f}" if line.step else f"L{x:.1f} {y:.1f}"
    parts = [f'<path d="{path}"/>']
    for i, (x, y) in enumerate(points):
        if len(points) > POINTS and i != line.mark:
            continue
        radius = 5 if i == line.mark else 2
        label = f"<title>{text(line.name)}: {ys[i]:.4g} at {xs[i]:g}</title>"
        mark = ' class="mark"' if i == line.mark else ""
        parts.append(f'<circle{mark} cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{label}</circle>')
    return f'<g class="c{number % COLOURS}">{"".join(parts)}</g>'


def _range(values) -> tuple[float, float]:
    values = [value for part in values for value in part] or [0.0, 1.0]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, some `count` of them."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or these alone where there are many, from at most `low` to at least `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) < 5 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [t for i, t in enumerate(ticks) if ticks[min(i + 1, len(ticks) - 1)] > low and ticks[max(i - 1, 0)] < high]

"""The page of a calibration: a single file of HTML with reliability diagrams."""

from visionkit.calibrate.find import Calibration, in_words
from visionkit.html.charts import STYLE, Line, line_chart
from visionkit.html.document import document, text

PERFECT = Line("what the score says", (0, 1), (0, 1))
MORE = ".words { margin: 1em 0; padding: .8em 1.2em; font-size: 1.05em } .words p { margin: .3em 0 }"


def page(found: Calibration, model: str) -> str:
    """Returns the whole page. The names of the model and of the data are untrusted text and are escaped."""
    names = {"before": "as they were", "after": f"calibrated: {found.method}"}
    diagrams = [
        line_chart(f"Share that is right, {words}", [_line(found, name), PERFECT], "score", (0, 1), (0, 1))
        for name, words in names.items()
    ]
    parts = [
        f"<header><p class='soft'>visionkit calibrate</p><h1>{text(model)}</h1>"
        f"<p class='soft'>{found.images:,} images: {text(found.source)}</p></header>",
        f'<div class="card words">{"".join(f"<p>{text(line)}</p>" for line in in_words(found))}</div>',
        "<h2>Reliability</h2><p class='soft'>Answers in bins of equal width by their score: where the line is below "
        "the diagonal, the model is surer than it should be. Every image was judged by a curve that had not seen it."
        "</p>",
        f'<div class="charts">{"".join(diagrams)}</div>',
        _table(found),
        _curve(found),
    ]
    return document(f"{model} · visionkit calibrate", "\n".join(parts), STYLE + MORE)


def _line(found: Calibration, name: str) -> Line:
    rows = found.diagrams[name]
    return Line(name, [row[0] for row in rows], [row[1] for row in rows])


def _table(found: Calibration) -> str:
    """The numbers behind the diagrams."""
    head = "".join(f'<th class="number">{name}</th>' for name in ("mean score", "right", "answers"))
    parts = []
    for name, rows in found.diagrams.items():
        cells = []
        for score, right, count in rows:
            numbers = (f"{score:.3f}", f"{right:.1%}", f"{count:,}")
            cells.append("<tr>" + "".join(f'<td class="number">{number}</td>' for number in numbers) + "</tr>")
        parts.append(f'<div class="card scroll"><h3>{name}</h3><table><tr>{head}</tr>{"".join(cells)}</table></div>')
    return f'<h2>The numbers</h2><div class="charts">{"".join(parts)}</div>'


def _curve(found: Calibration) -> str:
    """What becomes of a score; of exclusive classes this depends on the other scores too and is not drawn."""
    if found.curve is None or found.curve.exclusive:
        return ""
    scores = [i / 50 for i in range(51)]
    line = Line("calibrated", scores, [float(found.curve(score)) for score in scores])
    chart = line_chart("Calibrated score", [line, PERFECT], "score of the model", (0, 1), (0, 1))
    return f'<h2>The curve</h2><div class="charts">{chart}</div>'

"""The sections of a report about the model and its data; each is None if there is nothing to show."""

from typing import Any

import numpy as np

from visionkit.doctor.diagnosis import KINDS
from visionkit.evaluate.mistakes import BACKGROUND, CloseLook, Mistake, best_thresholds
from visionkit.html import charts
from visionkit.html.charts import Line, bar, line_chart, matrix_table
from visionkit.html.document import picture, text
from visionkit.metrics.curves import Curve
from visionkit.metrics.pictures import compact
from visionkit.report.facts import Assessment
from visionkit.report.words import mix_ups

PICTURES, LONG_SIDE = 12, 420  # mistakes of a kind, and pixels of the long side of each
WIDE_PICTURES = {"pixels": (6, 1200)}  # the same for kinds that show three pictures side by side
ROWS = 60  # classes in the table of scores
CELLS = 30  # classes in the confusion matrix
BESIDE = 8  # classes up to which there is room for the list of confused classes beside the matrix
CURVE_POINTS = 400  # of a long curve: more than a screen can show

COLUMNS = {  # task -> (key, heading) of the table of classes
    "detect": (
        ("mAP50", "mAP50"),
        ("mAP", "mAP"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("threshold", "best threshold"),
        ("objects", "objects"),
    ),
    "classify": (("recall", "right"), ("precision", "precision"), ("images", "images")),
    "segment": (("IoU", "IoU"), ("accuracy", "found"), ("boundary_f1", "boundary F1"), ("pixels", "pixels")),
}
COLUMNS["instance"] = COLUMNS["keypoints"] = COLUMNS["detect"]
MISTAKES = {  # kind -> heading
    "false": "Detections of something else or of nothing, with the highest scores. Some may be objects that nobody "
    "annotated",
    "missed": "The largest missed objects",
    "mixed up": "Images assigned to a wrong class with the highest scores",
    "pixels": "The images with the most wrong pixels: those pixels in red, the true map, the predicted map",
}


def class_scores(assessment: Assessment) -> str | None:
    """The table of scores by class, the weakest class first."""
    table: dict[str, dict[str, Any]] = assessment.scores.get("per_class", {})
    columns = COLUMNS.get(assessment.task or "", ())
    columns = [(key, heading) for key, heading in columns if any(key in row for row in table.values())]
    if not columns:
        return None
    first = columns[0][0]
    names = sorted(table, key=lambda name: (table[name][first] < 0, table[name][first]))
    head = "".join(f'<th class="number">{text(heading)}</th>' for _, heading in columns)
    rows = []
    for name in names[:ROWS]:
        ends = assessment.scores.get("class_intervals", {}).get(name, {})
        cells = [_cell(table[name].get(key), key == first, ends.get(key)) for key, _ in columns]
        rows.append(f"<tr><td>{text(name)}</td>{''.join(cells)}</tr>")
    more = f"<p>and {len(names) - ROWS} more, which are better</p>" if len(names) > ROWS else ""
    note = "<p class='soft'>The weakest first.</p>" if len(names) > 1 else ""
    return f'{note}<div class="card scroll"><table><tr><th>class</th>{head}</tr>{"".join(rows)}</table></div>{more}'


def _cell(value: float | int | None, with_bar: bool, ends: tuple[float, float] | None) -> str:
    if value is None or value == -1:
        shown = "–"
    elif isinstance(value, int):
        shown = f"{value:,}"
    else:
        shown = (bar(value) if with_bar else "") + f"{value:.3f}"
        if ends:
            shown += f'<br><span class="soft">{ends[0]:.3f} to {ends[1]:.3f}</span>'
    return f'<td class="number">{shown}</td>'


def confusion(assessment: Assessment) -> str | None:
    """The confusion matrix, and a list of the classes that are confused most."""
    look: CloseLook | None = assessment.scores.get("closely")
    if look is None:
        return None
    listed = _list_of_mix_ups(look)
    if len(look.names) > CELLS:
        return listed + f'<p class="soft">A table of {len(look.names)} classes would not fit here.</p>'
    note = f"Counted are {look.title}. A row is a true class, a column a predicted one; blue is right, red is wrong, "
    note += "and deeper is more of the row."
    if look.names[-1] == BACKGROUND:
        note += " The last column has the missed objects, the last row the detections of nothing."
    matrix = f'<div class="card scroll">{matrix_table(look.confusion, look.names, compact)}</div>'
    side_by_side = "pair" if len(look.names) <= BESIDE else "stack"
    return f'<p class="soft">{text(note)}</p><div class="{side_by_side}">{matrix}{listed}</div>'


def _list_of_mix_ups(look: CloseLook) -> str:
    rows = [
        f'<tr><td>{text(mix_up.truth)}</td><td>{text(mix_up.predicted)}</td><td class="number">{mix_up.count:,}</td>'
        f'<td class="number">{bar(mix_up.share)}{mix_up.share:.0%}</td></tr>'
        for mix_up in mix_ups(look)[:10]
    ]
    if not rows:
        return '<p class="soft">No class is predicted as another one in more than 5 % of the cases.</p>'
    what = look.title.split(",")[0]
    head = f'<th>is</th><th>predicted as</th><th class="number">{what}</th><th class="number">of the class</th>'
    return f'<div class="card scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def precision(assessment: Assessment) -> str | None:
    """A detector's curves: precision over recall, and F1 over the threshold, of the weakest classes."""
    look: CloseLook | None = assessment.scores.get("closely")
    if look is None or not (best := best_thresholds(look)):
        return None
    table = assessment.scores.get("per_class", {})
    curves = {name: curve for name, curve in zip(look.names, look.curves, strict=False) if name in best}
    names = sorted(curves, key=lambda name: table[name]["mAP50"])[: charts.COLOURS]
    note = "Detections below a threshold are left out: with a high one more of them are right, but fewer objects are "
    note += "found. The dot is the threshold with the best F1; pass it to visionkit detect as --score."
    if len(curves) > len(names):
        note += f" Shown are the {len(names)} weakest of {len(curves)} classes."
    pr_lines = [_pr_line(name, curves[name]) for name in names]
    f1_lines = [_f1_line(name, curves[name], best[name]["threshold"]) for name in names]
    drawn = line_chart("precision, over recall", pr_lines, "recall: share of the objects found", (0, 1), (0, 1))
    drawn += line_chart("F1, over the threshold", f1_lines, "threshold of the score", (0, 1), (0, 1))
    return f'<p class="soft">{note}</p><div class="charts">{drawn}</div>'


def _pr_line(name: str, curve: Curve) -> Line:
    recall, precision = curve.steps()
    keep = _kept_points(len(precision))
    return Line(name, recall[keep].tolist(), precision[keep].tolist(), step=True)


def _f1_line(name: str, curve: Curve, threshold: float) -> Line:
    if not len(curve.f1):
        return Line(f"{name}: nothing found", [], [])
    best = int(curve.f1.argmax())
    keep = np.union1d(_kept_points(len(curve.f1)), [best])
    mark = int(np.searchsorted(keep, best))
    return Line(f"{name}: {threshold:.2f}", curve.scores[keep].tolist(), curve.f1[keep].tolist(), mark)


def _kept_points(count: int) -> np.ndarray:
    """Which of the points of a curve are drawn."""
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).astype(int))


def mistakes(assessment: Assessment) -> str | None:
    """Pictures of the worst mistakes of each kind."""
    look: CloseLook | None = assessment.scores.get("closely")
    if look is None:
        return None
    parts = []
    for kind in dict.fromkeys(mistake.kind for mistake in look.worst):
        count, long_side = WIDE_PICTURES.get(kind, (PICTURES, LONG_SIDE))
        shown = [mistake for mistake in look.worst if mistake.kind == kind][:count]
        figures = "".join(_figure(mistake, long_side) for mistake in shown)
        parts.append(f'<h3>{MISTAKES[kind]}</h3><div class="pictures kind {kind.split()[0]}">{figures}</div>')
    return "".join(parts) or "<p>None: everything is right.</p>"


def _figure(mistake: Mistake, long_side: int) -> str:
    caption = f"<figcaption>{text(mistake.text)}<br>{text(mistake.id)}</figcaption>"
    return f'<figure class="card">{picture(mistake.draw(), long_side, mistake.text)}{caption}</figure>'


def data(assessment: Assessment) -> str | None:
    """The doctor's diagnosis of the data: a row for each kind of finding."""
    diagnosis = assessment.diagnosis
    if diagnosis is None:
        return None
    images = ", ".join(f"{split} {count:,}" for split, count in diagnosis.images().items())
    head = f"<p>{text(diagnosis.title)}. Images: {text(images)}.</p>"
    rows = []
    for kind, findings in diagnosis.by_kind().items():
        grade, advice = KINDS[kind]
        rows.append(
            f'<tr><td><span class="grade {grade}">{grade}</span></td><td>{text(kind)}</td>'
            f'<td class="number">{len(findings):,}</td><td>{text(advice)}<br>'
            f'<span class="soft">{text(findings[0].message)}</span></td></tr>'
        )
    if not rows:
        return f"{head}<p>Nothing is wrong with it.</p>"
    more = '<p class="soft">visionkit doctor DATA --html FILE shows them with pictures.</p>'
    return f'{head}<div class="card scroll"><table>{"".join(rows)}</table></div>{more}'

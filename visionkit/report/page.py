"""The page of `visionkit report`: one file, read from top to bottom in ten seconds or in ten minutes."""

from collections.abc import Sequence

import numpy as np

from visionkit.doctor.diagnosis import KINDS
from visionkit.evaluate.mistakes import BACKGROUND, best_thresholds
from visionkit.html import charts
from visionkit.html.charts import Line, bar, line_chart, matrix_table
from visionkit.html.document import document, picture, text
from visionkit.images import read_image
from visionkit.metrics.pictures import compact
from visionkit.report.facts import Findings, RunFacts
from visionkit.report.words import mix_ups, remarks

PICTURES, SIDE = 12, 420  # mistakes of a kind, and pixels of the long side of each
WIDE = {"pixels": (6, 1200)}  # the same of kinds that show three pictures side by side
ROWS, CELLS, BESIDE = 60, 30, 8  # classes that the tables have room for; so few leave room for another beside them

HEADLINES = {  # task -> (key, name, what it means); the first one is the headline
    "detect": (
        ("mAP50", "mAP50", "average precision at an IoU of 0.5, mean over classes"),
        ("mAP", "mAP", "over IoU 0.5 to 0.95: how tight the boxes are, too"),
        ("mAR100", "mAR", "share of the objects found, however low their score"),
    ),
    "classify": (
        ("top1", "accuracy", "of the images have the right class first"),
        ("top5", "top 5", "have it among the first five"),
    ),
    "segment": (
        ("mIoU", "mIoU", "intersection over union, mean over classes"),
        ("pixel_accuracy", "pixels right", "whatever their class"),
        ("mean_accuracy", "class accuracy", "share of a class's pixels found, mean over classes"),
        ("boundary_f1", "boundary F1", "how well outlines agree"),
    ),
}
HEADLINES["instance"] = (
    *HEADLINES["detect"][:2],
    ("mask_mAP50", "mask mAP50", "the same of the masks at an IoU of 0.5"),
    ("mask_mAP", "mask mAP", "over IoU 0.5 to 0.95"),
)
COLUMNS = {  # task -> (key, head) of the table of classes
    "detect": (("mAP50", "mAP50"), ("mAP", "mAP"), ("precision", "precision"), ("recall", "recall"))
    + (("threshold", "best threshold"), ("objects", "objects")),
    "classify": (("recall", "right"), ("precision", "precision"), ("images", "images")),
    "segment": (("IoU", "IoU"), ("accuracy", "found"), ("boundary_f1", "boundary F1"), ("pixels", "pixels")),
}
COLUMNS["instance"] = COLUMNS["detect"]

_STYLE = (
    charts.STYLE
    + """
header p { margin: .1em 0 } .cards { display: grid; gap: 1em; margin: 1.2em 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 11em), 1fr)) }
.cards b { display: block; font-size: 1.7em; line-height: 1.25; font-variant-numeric: tabular-nums }
.cards .first { grid-column: span 2; border-left: .4em solid rgb(var(--blue)) } .cards .first b { font-size: 2.6em }
@media (max-width: 30em) { .cards { grid-template-columns: 1fr 1fr } }
.words { list-style: none; margin: 0; padding: .6em 1em } .words li { padding: .3em 0 .3em 1.5em; text-indent: -1.5em }
.words .grade { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .75em }
.kind { --least: 17em } .kind.pixels { --least: 40em } .absent { color: var(--soft); font-style: italic }
.kind figure { padding: .5em } .kind figcaption { margin-top: .3em } details { margin: .6em 0 }
summary { cursor: pointer } .pair { display: grid; gap: 1em; grid-template-columns: repeat(auto-fit,
  minmax(min(100%, 22em), 1fr)) } .pair > * { min-width: 0 } .doctor td { vertical-align: top }
.stack > * + * { margin-top: 1em }
.doctor td:nth-child(-n+3) { white-space: nowrap }
.value { overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
"""
)


def page(run: RunFacts, found: Findings) -> str:
    """The whole page."""
    parts = [
        _header(run, found),
        _cards(found),
        _in_short(run, found),
        _curves(run),
        _part("Scores of the classes", _classes(found), found),
        _part("What is taken for what", _confusion(found), found),
        _part("Precision and recall", _precision(found), found) if found.task in ("detect", "instance") else "",
        _part("The worst mistakes", _mistakes(found), found),
        _part("The data", _doctor(found), found),
        _speed(run),
        _batch(run),
        _machine(run),
    ]
    return document(f"{run.folder.name} · visionkit report", "\n".join(part for part in parts if part), _STYLE)


def _part(title: str, body: str | None, found: Findings) -> str:
    """A section, or in its place the sentence that says why it is not there."""
    absent = found.absent.get(title) or found.absent.get("model", "There is nothing to show.")
    return f"<h2>{text(title)}</h2>" + (body or f'<p class="absent">{text(absent)}</p>')


def _header(run, found):
    epochs = len(run.history)
    facts = [f"{run.results['train_images']:,} training images"] if "train_images" in run.results else []
    facts += [f"{epochs} epoch{'s' * (epochs != 1)}"]
    if "epoch" in run.results and any(key.startswith("val_") for row in run.history for key in row):
        facts.append(f"the model is that of epoch {run.results['epoch']}")
    if "seconds" in run.results:
        facts.append(f"trained in {_duration(run.results['seconds'])}")
    else:
        facts.append("NOT FINISHED: visionkit train --resume goes on with it")
    about = run.about or "visionkit finetune" + (f" {run.data}" if run.data else "")
    return (
        f"<header><p class='soft'>visionkit report</p><h1>{text(run.folder.name)}</h1><p>{text(about)}</p>"
        f"<p class='soft'>{text(' · '.join(facts))}</p></header>"
    )


def _cards(found):
    cards = []
    for key, name, meaning in HEADLINES.get(found.task, ()):
        if found.scores.get(key, -1) >= 0 and not (key == "top5" and len(found.scores.get("per_class", ())) <= 5):
            first = "" if cards else " first"
            value = f"{found.scores[key]:.1%}" if found.task == "classify" else f"{found.scores[key]:.3f}"
            card = f"{text(name)}<b>{value}</b><span class='soft'>{text(meaning)}</span>"
            cards.append(f'<div class="card{first}">{card}</div>')
    if not cards:
        return f'<p class="absent">{text(found.absent.get("model", "This run was not scored."))}</p>'
    return f'<div class="cards">{"".join(cards)}</div><p class="soft">Measured on {text(found.measured)}.</p>'


def _in_short(run, found):
    grades = found.doctor.grades() if found.doctor else None
    rows = remarks(found.task, found.scores, found.scores.get("closely"), run.history, run.waited, grades)
    items = [f'<li><span class="grade {r.grade}" title="{r.grade}"></span>{text(r.text)}</li>' for r in rows]
    return f'<h2>In short</h2><ul class="words card">{"".join(items)}</ul>'


def _curves(run):
    """Losses, and beside them what was scored while training."""
    keys = dict.fromkeys(key for row in run.history for key in row if key not in ("epoch", "time"))
    shares = [key for key in keys if key.startswith("val_") or key == "accuracy"]
    losses = sorted((key for key in keys if key not in shares), key=lambda key: key != "loss")
    values = [row[key] for row in run.history for key in losses if key in row]
    wide = bool(values) and min(values) > 0 and max(values) > 8 * min(values)
    title = "loss on the training images" + (", logarithmic" if wide else "")
    epochs = run.history[0]["epoch"], max(run.history[-1]["epoch"], run.history[0]["epoch"] + 1)
    drawn = [line_chart(title, _lines(run.history, losses), "epoch", epochs, log=wide)]
    if shares:
        drawn.append(line_chart("scores", _lines(run.history, shares), "epoch", epochs, (0, 1)))
    none = (
        "" if shares else '<p class="absent">Nothing was scored while it trained: there were no validation images.</p>'
    )
    return f'<h2>Learning</h2><div class="charts">{"".join(drawn)}</div>{none}'


def _lines(history, keys) -> list[Line]:
    lines = []
    for key in keys[: charts.COLOURS]:
        rows = [row for row in history if key in row]
        values = [row[key] for row in rows]
        mark = int(np.argmax(values)) if key.startswith("val_") else None
        lines.append(Line(key.replace("val_", "validation "), [row["epoch"] for row in rows], values, mark))
    return lines


def _classes(found):
    table, columns = found.scores.get("per_class"), COLUMNS.get(found.task)
    if not table:
        return None
    columns = [(key, head) for key, head in columns if any(key in row for row in table.values())]
    first = columns[0][0]
    names = sorted(table, key=lambda name: (table[name][first] < 0, table[name][first]))
    head = "".join(f'<th class="number">{text(head)}</th>' for _, head in columns)
    rows = []
    for name in names[:ROWS]:
        cells = "".join(
            f'<td class="number">{_cell(key, table[name].get(key), key == first)}</td>' for key, _ in columns
        )
        rows.append(f"<tr><td>{text(name)}</td>{cells}</tr>")
    more = f"<p>and {len(names) - ROWS} more, which are better</p>" if len(names) > ROWS else ""
    note = "<p class='soft'>The weakest first.</p>" if len(names) > 1 else ""
    return f'{note}<div class="card scroll"><table><tr><th>class</th>{head}</tr>{"".join(rows)}</table></div>{more}'


def _cell(key, value, with_bar) -> str:
    if value is None or value == -1:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return (bar(value) if with_bar else "") + f"{value:.3f}"


def _confusion(found):
    closely = found.scores.get("closely")
    if closely is None:
        return None
    pairs = mix_ups(closely)[:10]
    rows = [
        f'<tr><td>{text(truth)}</td><td>{text(said)}</td><td class="number">{count:,}</td>'
        f'<td class="number">{bar(share)}{share:.0%}</td></tr>'
        for truth, said, count, share in pairs
    ]
    what = closely.title.split(",")[0]
    head = f'<tr><th>is</th><th>taken for</th><th class="number">{what}</th><th class="number">of the class</th></tr>'
    listed = f'<div class="card scroll"><table>{head}{"".join(rows)}</table></div>' if rows else ""
    if not rows:
        listed = '<p class="soft">No class is taken for another in more than 5 % of the cases.</p>'
    if len(closely.names) > CELLS:
        return listed + f'<p class="soft">A table of {len(closely.names)} classes would not fit here.</p>'
    note = f"Counted are {closely.title}. A row is the truth; blue is right, red is wrong, deeper is more of the row."
    if closely.names[-1] == BACKGROUND:
        note += " The last column is what was missed, the last row what was invented."
    drawn = f'<div class="card scroll">{matrix_table(closely.confusion, closely.names, compact)}</div>'
    side_by_side = "pair" if len(closely.names) <= BESIDE else "stack"
    return f'<p class="soft">{text(note)}</p><div class="{side_by_side}">{drawn}{listed}</div>'


def _precision(found):
    closely = found.scores.get("closely")
    table = found.scores.get("per_class", {})
    if closely is None or not (best := best_thresholds(closely)):
        return None
    curves = {name: curve for name, curve in zip(closely.names, closely.curves, strict=False) if name in best}
    names = sorted(curves, key=lambda name: table[name]["mAP50"])[: charts.COLOURS]
    pr = [_pr_line(name, curves[name]) for name in names]
    f1 = [_f1_line(name, curves[name], best[name]) for name in names]
    note = "Detections below a threshold are left out: a high one is right more often and finds less. "
    note += "The dot is the threshold of the best F1; visionkit detect takes it as --score."
    if len(curves) > len(names):
        note += f" Shown are the {len(names)} weakest of {len(curves)} classes."
    whole = {"x_range": (0, 1), "y_range": (0, 1)}
    drawn = line_chart("precision, over recall", pr, "recall: share of the objects found", **whole)
    drawn += line_chart("F1, over the threshold", f1, "threshold of the score", **whole)
    return f'<p class="soft">{note}</p><div class="charts">{drawn}</div>'


def _pr_line(name, curve) -> Line:
    """Begins at recall 0, with the precision of the first detection."""
    recall, precision = (np.append(x[:1], x) for x in (curve.recall, curve.precision))
    recall[:1] = 0
    keep = _corners(precision)
    return Line(name, recall[keep], precision[keep], step=True)


def _f1_line(name, curve, best) -> Line:
    if not len(curve.f1):
        return Line(f"{name}: nothing found", [], [])
    keep = np.union1d(_corners(curve.f1), [int(curve.f1.argmax())])
    label = f"{name}: {best['threshold']:.2f}"
    return Line(label, curve.scores[keep], curve.f1[keep], int(np.searchsorted(keep, curve.f1.argmax())))


def _corners(values) -> np.ndarray:
    """At most some 400 rows of a long curve: more than a screen can show."""
    return np.unique(np.linspace(0, len(values) - 1, min(len(values), 400)).astype(int))


def _mistakes(found):
    closely = found.scores.get("closely")
    if closely is None:
        return None
    kinds = dict.fromkeys(mistake.kind for mistake in closely.worst)
    titles = {
        "false": "Found where nothing is, or something else: the surest. Some may be objects that nobody annotated",
        "missed": "Missed: the largest",
        "mixed up": "Of another class: the surest",
        "pixels": "The images with most wrong pixels: those pixels in red, the truth, what was said",
    }
    parts = []
    for kind in kinds:
        count, side = WIDE.get(kind, (PICTURES, SIDE))
        mistakes = [mistake for mistake in closely.worst if mistake.kind == kind][:count]
        figures = "".join(_figure(mistake, side) for mistake in mistakes)
        parts.append(f'<h3>{titles[kind]}</h3><div class="pictures kind {kind.split()[0]}">{figures}</div>')
    return "".join(parts) or "<p>None: everything is right.</p>"


def _figure(mistake, side):
    caption = f"<figcaption>{text(mistake.text)}<br>{text(mistake.id)}</figcaption>"
    return f'<figure class="card">{picture(mistake.draw(), side, mistake.text)}{caption}</figure>'


def _doctor(found):
    if found.doctor is None:
        return None
    report = found.doctor
    images = ", ".join(f"{split} {count:,}" for split, count in report.images().items())
    rows = [
        f'<tr><td><span class="grade {KINDS[kind][0]}">{KINDS[kind][0]}</span></td><td>{text(kind)}</td>'
        f'<td class="number">{len(items):,}</td><td>{text(KINDS[kind][1])}<br>'
        f'<span class="soft">{text(items[0].message)}</span></td></tr>'
        for kind, items in report.by_kind().items()
    ]
    table = (
        f'<div class="card scroll"><table>{"".join(rows)}</table></div>' if rows else "<p>Nothing is wrong with it.</p>"
    )
    more = '<p class="soft">visionkit doctor DATA --html FILE shows them with pictures.</p>' if rows else ""
    return f"<p>{text(report.title)}. Images: {text(images)}.</p>{table}{more}"


def _speed(run):
    rows = []
    times = [row["time"] for row in run.history if "time" in row]
    if len(times) > 1:
        epoch = float(np.median(np.diff(times)))
        rows.append(("an epoch, with its scoring where there was one", _duration(epoch)))
        if "train_images" in run.results and epoch > 0:
            rows.append(("training images a second", f"{run.results['train_images'] / epoch:.1f}"))
    if "seconds" in run.results:
        rows.append(("the whole run", _duration(run.results["seconds"])))
    if run.waited is not None:
        rows.append(("share of it that training waited for data", f"up to {run.waited:.0%}"))
    return f"<h2>Speed</h2>{_table(rows)}" if rows else ""


def _batch(run):
    file = run.folder / "first_batch.jpg"
    if not file.is_file():
        return ""
    shown = picture(read_image(file), 1400, "the first training batch with its labels")
    return f"<details><summary>The first batch, as the network saw it, with its labels</summary>{shown}</details>"


def _machine(run):
    environment = run.results.get("environment", {})
    versions = [(name, version) for name, version in environment.get("versions", {}).items()]
    machine = [(name, environment[name]) for name in ("machine", "python", "backend") if name in environment]
    parts = [("Knobs", run.knobs.items()), ("Options", run.options.items()), ("Environment", machine + versions)]
    drawn = [f"<div><h3>{title}</h3>{_table(rows)}</div>" for title, rows in parts if rows]
    return f'<h2>How it was made</h2><div class="pair">{"".join(drawn)}</div>'


def _table(rows: Sequence[tuple]) -> str:
    lines = [f'<tr><td>{text(name)}</td><td class="value">{text(value)}</td></tr>' for name, value in rows]
    return f'<div class="card"><table>{"".join(lines)}</table></div>'


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"

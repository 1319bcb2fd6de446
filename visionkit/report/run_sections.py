"""The sections of a report about the run: how it learned, how fast it was and how it was made."""

from collections.abc import Iterable

import numpy as np

from visionkit.calibrate import record
from visionkit.evaluate.learning_curves import score_and_loss_names
from visionkit.guarantee import stored
from visionkit.html import charts
from visionkit.html.charts import Line, line_chart
from visionkit.html.document import picture, text
from visionkit.images import read_image
from visionkit.report.facts import RunFacts

WIDE = 8  # losses that differ by more than this factor are drawn on a logarithmic axis
BATCH_SIDE = 1400  # pixels of the long side of the first batch's picture


def learning(run: RunFacts) -> str:
    """The losses, and beside them the scores during training."""
    scores, losses = score_and_loss_names(run.history)
    losses.sort(key=lambda key: key != "loss")  # the total loss first
    values = [row[key] for row in run.history for key in losses if key in row]
    logarithmic = bool(values) and min(values) > 0 and max(values) > WIDE * min(values)
    title = "loss on the training images" + (", logarithmic" if logarithmic else "")
    first, last = run.history[0]["epoch"], run.history[-1]["epoch"]
    epochs = first, max(last, first + 1)
    drawn = line_chart(title, _lines(run, losses), "epoch", epochs, log=logarithmic)
    if scores:
        drawn += line_chart("scores", _lines(run, scores), "epoch", epochs, (0, 1))
        note = ""
    else:
        note = '<p class="absent">Nothing was scored during training: there were no validation images.</p>'
    return f'<h2>Learning</h2><div class="charts">{drawn}</div>{note}'


def _lines(run: RunFacts, keys: list[str]) -> list[Line]:
    lines = []
    for key in keys[: charts.COLOURS]:
        rows = [row for row in run.history if key in row]
        values = [row[key] for row in rows]
        # Of equal scores the last is marked: its model is the one that is kept.
        mark = len(values) - 1 - int(np.argmax(values[::-1])) if key.startswith("val_") else None
        lines.append(Line(key.replace("val_", "validation "), [row["epoch"] for row in rows], values, mark))
    return lines


def promises(run: RunFacts) -> str:
    """Whether the model's scores are calibrated, and what is promised about it, one line each."""
    lines = [record.in_one_line(run.folder), stored.in_one_line(run.folder)]
    return f'<h2>Promises</h2><ul class="words card">{"".join(f"<li>{text(line)}</li>" for line in lines)}</ul>'


def speed(run: RunFacts) -> str:
    """How long an epoch and the whole run took; "" if nothing was measured."""
    rows = []
    times = [row["time"] for row in run.history if "time" in row]
    if len(times) > 1:
        epoch = float(np.median(np.diff(times)))
        rows.append(("an epoch, with its scoring if there was any", duration(epoch)))
        if "train_images" in run.results and epoch > 0:
            rows.append(("training images per second", f"{run.results['train_images'] / epoch:.1f}"))
    if "seconds" in run.results:
        rows.append(("the whole run", duration(run.results["seconds"])))
    if run.waited is not None:
        rows.append(("share of it that training waited for data", f"up to {run.waited:.0%}"))
    return f"<h2>Speed</h2>{_table(rows)}" if rows else ""


def first_batch(run: RunFacts) -> str:
    """The picture of the first batch, folded in; "" if the run has none."""
    file = run.folder / "first_batch.jpg"
    if not file.is_file():
        return ""
    shown = picture(read_image(file), BATCH_SIDE, "the first training batch with its labels")
    return f"<details><summary>The first batch, as the network saw it, with its labels</summary>{shown}</details>"


def how_it_was_made(run: RunFacts) -> str:
    """Knobs, options and environment."""
    environment = run.results.get("environment", {})
    machine = [(name, environment[name]) for name in ("machine", "python", "backend") if name in environment]
    versions = list(environment.get("versions", {}).items())
    parts = [("Knobs", run.knobs.items()), ("Options", run.options.items()), ("Environment", machine + versions)]
    drawn = [f"<div><h3>{title}</h3>{_table(rows)}</div>" for title, rows in parts if rows]
    return f'<h2>How it was made</h2><div class="pair">{"".join(drawn)}</div>'


def _table(rows: Iterable[tuple[str, object]]) -> str:
    lines = [f'<tr><td>{text(name)}</td><td class="value">{text(value)}</td></tr>' for name, value in rows]
    return f'<div class="card"><table>{"".join(lines)}</table></div>'


def duration(seconds: float) -> str:
    """Formats a time, such as "2 h 05 min", "3 min 20 s" or "45 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"

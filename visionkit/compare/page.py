"""The page of a comparison: a single file of HTML."""

import numpy as np

from visionkit.compare.contest import Contest, Contestant, Pair
from visionkit.compare.differences import SIGNIFICANT, Difference
from visionkit.evaluate.scores import class_ids
from visionkit.html.document import document, picture, text
from visionkit.predict.draw import draw_classification, draw_detections, draw_segmentation
from visionkit.types import IGNORE, Classification, Detections, Sample, SegmentationMap, objects_of

LONG_SIDE = 420  # pixels of a picture
ROWS = 60  # classes of a table
STYLE = """
.three { --least: 18em } .three figure { padding: .5em }
.words { margin: 1em 0; padding: .8em 1.2em; font-size: 1.05em }
.words p { margin: .3em 0 } .whisker { display: block; width: 14em; height: 1.2em }
.whisker line { stroke: var(--ink); stroke-width: 1.5 } .whisker .zero { stroke: var(--soft); stroke-dasharray: 2 2 }
.whisker circle { fill: rgb(var(--blue)) } .whisker .sure { fill: var(--good) } td { vertical-align: middle }
"""


def page(contest: Contest) -> str:
    """Returns the whole page. Names of files and classes are untrusted text and are escaped."""
    names = " and ".join(model.name for model in contest.models)
    parts = [
        f"<header><p class='soft'>visionkit compare</p><h1>{text(names)}</h1>"
        f"<p class='soft'>{len(contest.dataset):,} images: {text(contest.dataset.source)}</p></header>",
        f'<div class="card words">{"".join(f"<p>{text(line)}</p>" for line in contest.verdicts())}</div>',
        _models(contest),
        *(_pair(contest, pair) for pair in contest.pairs),
        _method(contest),
    ]
    return document(f"{names} · visionkit compare", "\n".join(parts), STYLE)


def _models(contest: Contest) -> str:
    """Scores with intervals, speed and size: a column for each model."""
    head = "".join(f'<th class="number">{text(model.name)}</th>' for model in contest.models)
    rows = []
    for key in contest.models[0].intervals:
        if not all(key in model.intervals for model in contest.models):
            continue  # one has masks and another has not
        cells = []
        for model in contest.models:
            low, high = model.intervals[key]
            cells.append(f"{model.measured.scores[key]:.3f}<br><span class='soft'>{low:.3f} to {high:.3f}</span>")
        rows.append(_row(key, cells))
    rows.append(_row("ms an image", [_number(model.milliseconds, ".1f") for model in contest.models]))
    rows.append(_row("parameters", [_number(model.parameters, ",") for model in contest.models]))
    megabytes = [None if model.bytes is None else model.bytes / 1e6 for model in contest.models]
    rows.append(_row("MB of its files", [_number(value, ".1f") for value in megabytes]))
    table = f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    note = "Below a score its 95 % interval. Times are those of this machine, one after the other, with decoded images."
    return f'<h2>The models</h2><p class="soft">{note}</p><div class="card scroll">{table}</div>'


def _row(name: str, cells: list[str]) -> str:
    columns = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f"<tr><td>{text(name)}</td>{columns}</tr>"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def _pair(contest: Contest, pair: Pair) -> str:
    first, second = contest.models[pair.first], contest.models[pair.second]
    note = f"{second.name} minus {first.name}: what is right of the dashed line is in favour of {second.name}. A green "
    note += f"dot marks a difference that chance alone makes in fewer than {SIGNIFICANT:.0%} of cases."
    overall = _table(pair.comparison.overall)
    by_class = {}
    for name, row in pair.comparison.per_class.items():
        key = contest.headline if contest.headline in row else next(iter(row))
        by_class[f"{name}: {key}"] = row[key]
    worst_first = dict(sorted(by_class.items(), key=lambda item: -abs(item[1].by))[:ROWS])
    sure = sum(difference.p < SIGNIFICANT for difference in by_class.values())
    chance = f"{sure} of {len(by_class)} classes have a green dot; without any difference it would be about "
    chance += f"{SIGNIFICANT * len(by_class):.1f}."
    classes = f'<h3>By class</h3><p class="soft">{text(chance)}</p>{_table(worst_first)}' if by_class else ""
    title = f"<h2>{text(first.name)} and {text(second.name)}</h2>"
    return f'{title}<p class="soft">{text(note)}</p>{overall}{classes}{_pictures(contest, pair)}'


def _table(differences: dict[str, Difference]) -> str:
    reach = max((abs(end) for row in differences.values() for end in (row.low, row.high)), default=0) or 1
    head = "".join(f'<th class="number">{name}</th>' for name in ("difference", "95 % interval", "p"))
    rows = []
    for name, row in differences.items():
        cells = [f"{row.by:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}", f"{row.p:.2g}"]
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{text(name)}</td><td>{_whisker(row, reach)}</td>{numbers}</tr>")
    return f'<div class="card scroll"><table><tr><th></th><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _whisker(row: Difference, reach: float) -> str:
    """The interval as a line with a dot; all of a table from -`reach` to `reach`."""
    low, middle, high = (100 + 95 * value / reach for value in (row.low, row.by, row.high))
    sure = ' class="sure"' if row.p < SIGNIFICANT else ""
    return (
        '<svg class="whisker" viewBox="0 0 200 16" preserveAspectRatio="none"><line class="zero" x1="100" x2="100" '
        f'y1="0" y2="16"/><line x1="{low:.1f}" x2="{high:.1f}" y1="8" y2="8"/>'
        f'<circle{sure} cx="{middle:.1f}" cy="8" r="4"/></svg>'
    )


def _pictures(contest: Contest, pair: Pair) -> str:
    """The images about which two models differ most: the annotation, the first model, the second one."""
    if not pair.images:
        return "<h3>The images where they differ most</h3><p>None: they make the same mistakes.</p>"
    parts = ["<h3>The images where they differ most</h3>"]
    for index in pair.images:
        sample = contest.dataset[index]
        figures = [_figure(_truth(sample, contest), f"{sample.id}: annotation")]
        for place, model in enumerate((contest.models[pair.first], contest.models[pair.second])):
            wrong = pair.errors[place, index]
            caption = f"{model.name}: {wrong:.1%} wrong" if wrong % 1 else f"{model.name}: {wrong:.0f} wrong"
            figures.append(_figure(_said(sample, model, contest), caption))
        parts.append(f'<div class="pictures three">{"".join(figures)}</div>')
    return "".join(parts)


def _figure(image: np.ndarray, caption: str) -> str:
    shown = picture(image, LONG_SIDE, caption)
    return f'<figure class="card">{shown}<figcaption>{text(caption)}</figcaption></figure>'


def _truth(sample: Sample, contest: Contest) -> np.ndarray:
    """The annotation as if it were a prediction, in the models' class ids and so in the same colours."""
    assert sample.image is not None
    names = contest.class_names
    table = np.full(IGNORE + 1, IGNORE, np.int32)
    table[: len(contest.dataset.class_names)] = class_ids(contest.models[0].predictor, contest.dataset)
    if sample.segmentation is not None:
        return draw_segmentation(sample.image, table[sample.segmentation], names)
    if sample.label is not None and sample.boxes is None:
        certain = np.eye(len(names), dtype=np.float32)[table[sample.label]]
        result = Classification(id=sample.id, image_size=sample.image_size, scores=certain)
        return draw_classification(sample.image, result, names, top=1)
    boxes, labels, _ = objects_of(sample)
    ones = np.ones(len(boxes), np.float32)
    result = Detections(id=sample.id, image_size=sample.image_size, boxes=boxes, scores=ones, labels=table[labels])
    return draw_detections(sample.image, result, names)


def _said(sample: Sample, model: Contestant, contest: Contest) -> np.ndarray:
    assert sample.image is not None
    result = next(iter(model.predictor([sample])))
    if isinstance(result, SegmentationMap):
        return draw_segmentation(sample.image, result.segmentation, contest.class_names)
    if isinstance(result, Classification):
        return draw_classification(sample.image, result, contest.class_names)
    assert model.thresholds is not None
    certain = result[result.scores >= model.thresholds[result.labels]]
    return draw_detections(sample.image, certain, contest.class_names, min_score=0)


def _method(contest: Contest) -> str:
    note = (
        "All models saw the same images. The intervals are those of 1,000 resamples of the images, drawn for both "
        "models at once; p is the share of 1,000 exchanges of the two models' answers, image by image, that make a "
        "difference as large or larger. Both say what other images of the same kind may bring. They say nothing about "
        "images of another kind, nor about training the models again with another seed: visionkit seeds measures that."
    )
    if len(contest.pairs) > 1:
        note += f" The p-values in the sentences at the top are corrected for {len(contest.pairs)} pairs (Holm)."
    return f'<h2>How this was computed</h2><p class="soft">{note}</p>'

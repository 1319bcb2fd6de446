"""What a person wants to see of a data set first: labelled samples, the sizes of images and objects, the classes."""

from collections import Counter
from itertools import pairwise

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.doctor.annotation_checks import scale_of
from visionkit.doctor.diagnosis import Diagnosis
from visionkit.html.charts import bar
from visionkit.html.document import picture, text
from visionkit.predict.draw import draw_sample
from visionkit.types import IGNORE, DataError, Sample, objects_of

SAMPLES = 12
SIDE = 320  # pixels of a sample's picture
SIZES = 6  # sizes of images that are listed
EDGES = (8, 16, 32, 64, 128, 256)  # pixels at which the sizes of objects are divided


def overview(diagnosis: Diagnosis) -> str:
    """The tables and the samples, as HTML."""
    tables = [_classes(diagnosis), _image_sizes(diagnosis), _object_sizes(diagnosis)]
    cards = "".join(f'<div class="card scroll">{table}</div>' for table in tables if table)
    return f'<div class="tables">{cards}</div>{_samples(diagnosis)}'


def _classes(diagnosis: Diagnosis) -> str:
    """How often each class occurs in each split, and its share."""
    total = np.sum(list(diagnosis.counts.values()), axis=0)
    head = "".join(f'<th class="number">{text(split)}</th>' for split in diagnosis.counts)
    rows = []
    for k, name in enumerate(diagnosis.class_names):
        cells = "".join(f'<td class="number">{counts[k]:,}</td>' for counts in diagnosis.counts.values())
        share = total[k] / max(total.sum(), 1)
        rows.append(f"<tr><td>{text(name)}</td>{cells}<td>{bar(share)}{share:.1%}</td></tr>")
    return f"<table><tr><th>{diagnosis.what}</th>{head}<th>share</th></tr>{''.join(rows)}</table>"


def _image_sizes(diagnosis: Diagnosis) -> str:
    """The sizes of the images, the most frequent first."""
    sizes = Counter(record.image_size for part in diagnosis.parts.values() for record in part.records)
    rows = [f"{w}x{h}" for (h, w), _ in sizes.most_common(SIZES)]
    counts = [count for _, count in sizes.most_common(SIZES)]
    if others := len(sizes) - len(rows):
        least, most = min(sizes, key=np.prod), max(sizes, key=np.prod)
        rows.append(f"{others} other sizes, in all from {least[1]}x{least[0]} to {most[1]}x{most[0]}")
        counts.append(sizes.total() - sum(counts))
    return _shares("images, width x height", rows, counts)


def _object_sizes(diagnosis: Diagnosis) -> str:
    """How many objects have which size in the training image; "" without objects."""
    sides = []  # the root of each object's area
    for record in (record for part in diagnosis.parts.values() for record in part.records):
        boxes = objects_of(record).boxes if record.boxes is not None else np.zeros((0, 4))
        sides.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)) * scale_of(record.image_size, diagnosis.size))
    all_sides = np.concatenate(sides) if sides else np.zeros(0)
    if not len(all_sides):
        return ""
    bins = np.bincount(np.digitize(all_sides, EDGES), minlength=len(EDGES) + 1).tolist()
    names = [f"below {EDGES[0]}", *(f"{a} to {b}" for a, b in pairwise(EDGES)), f"{EDGES[-1]} on"]
    size = diagnosis.size if isinstance(diagnosis.size, int) else "x".join(map(str, diagnosis.size))
    return _shares(f"objects, side in pixels when trained at {size}", names, bins)


def _shares(title: str, names: list[str], counts: list[int]) -> str:
    """A table of counts with their shares."""
    total = max(sum(counts), 1)
    rows = []
    for name, count in zip(names, counts, strict=True):
        share = f"<td>{bar(count / total)}{count / total:.0%}</td>"
        rows.append(f'<tr><td>{text(name)}</td><td class="number">{count:,}</td>{share}</tr>')
    return f"<table><tr><th colspan=3>{text(title)}</th></tr>{''.join(rows)}</table>"


def _samples(diagnosis: Diagnosis) -> str:
    """Pictures of samples with their labels."""
    figures = []
    for split, part, index in _chosen(diagnosis):
        try:
            sample = part[index]
        except DataError:
            continue
        drawn = draw_sample(sample, diagnosis.class_names, (SIDE, SIDE))
        caption = f"{split}: {sample.id}"
        if names := _labels(sample, diagnosis.class_names):
            caption += f" - {names}"
        figures.append(f"<figure>{picture(drawn, SIDE, caption)}<figcaption>{text(caption)}</figcaption></figure>")
    if not figures:
        return ""
    return f'<h2>Samples with their labels</h2><div class="pictures samples">{"".join(figures)}</div>'


def _labels(sample: Sample, class_names: list[str]) -> str:
    """What a picture does not say by itself: the class of an image, or the classes of a map."""
    if sample.label is not None:
        return class_names[sample.label]
    if sample.segmentation is not None:
        return ", ".join(class_names[k] for k in np.unique(sample.segmentation).tolist() if k != IGNORE)
    return ""


def _chosen(diagnosis: Diagnosis) -> list[tuple[str, Dataset, int]]:
    """(split, its data, index) of up to `SAMPLES` samples: the splits in turn, in each classes not seen yet first."""
    rng = np.random.default_rng(0)
    left = {split: rng.permutation(len(part)).tolist() for split, part in diagnosis.parts.items()}
    seen: Counter[int] = Counter()  # how many chosen samples have each class
    chosen = []
    while len(chosen) < SAMPLES and any(left.values()):
        for split, part in diagnosis.parts.items():
            if not left[split] or len(chosen) == SAMPLES:
                continue
            some = left[split][:200]  # enough to find a rare class, and quick in a large set
            classes = {index: _classes_of(part.records[index]) for index in some}
            index = min(some, key=lambda index: min((seen[k] for k in classes[index]), default=SAMPLES))
            left[split].remove(index)
            seen.update(classes[index])
            chosen.append((split, part, index))
    return chosen


def _classes_of(record: Sample) -> set[int]:
    """The classes that the annotations name; those of a class map are not known before it is read."""
    if record.label is not None:
        return {record.label}
    return set() if record.labels is None else set(record.labels.tolist())

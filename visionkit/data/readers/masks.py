"""Images with masks of the same name: class maps (semantic) or numbered objects (instances).

The layouts are those of `mask_pairs`. Values are those of `read_mask`.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image, read_names, sample_ids
from visionkit.data.readers.mask_pairs import Pair, all_pairs
from visionkit.data.repair import Repairs
from visionkit.data.segments import check_masks
from visionkit.images import image_size, read_mask
from visionkit.types import IGNORE, DataError, Sample, check_sample, objects_of

MAX_INSTANCES = 1000  # a mask with more objects is a photograph or a class map by mistake
UNKNOWN = -1
_VOID = ("void", "ignore", "ignored", "unlabelled", "unlabeled")


def semantic_masks(
    root: Path,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    repairs: Repairs | None = None,
) -> Dataset:
    """Reads images with class maps: Samples with `segmentation`.

    Every mask of ALL splits is read once to find the values in use. These become class ids 0..K-1 in ascending order,
    named by their values. 255 is ignored, unless 0 and 255 are the only values: then 255 is class 1. Alternatively, a
    file of classes names the values 0, 1, ... line by line; the name "void" (ignore, unlabelled) makes its value
    ignored.

    Args:
        root: see the layouts in `mask_pairs`.
        split: a split folder or list; None for all.
        classes: the file of classes; by default classes.txt in `root`, if there is one.
        void: one more value that is neither trained on nor scored, e.g. 11 in CamVid.
        repairs: records what is wrong; by default it is raised.

    Raises:
        DataError: a mask is broken, lacks its image or has another size, or a value has no name; names the file.
    """
    root, repairs = Path(root), Repairs("images and class maps") if repairs is None else repairs
    everything, chosen = all_pairs(root, split, repairs)
    values, good = _values(everything, repairs)
    if classes is not None or (root / "classes.txt").is_file():
        named, ignored = _named_values(classes or root / "classes.txt", values, void, repairs)
    else:
        binary = set(values) <= {0, 255}
        named = {value: str(value) for value in sorted(values) if binary or value != IGNORE}
        ignored = set()
    table, names = _table(named, ignored, values, void)
    records, masks = _records(root, [pair for pair in chosen if pair in good], repairs)
    return Dataset(records, names, partial(_load_map, masks, table), f"images and class maps, split {split or 'all'}")


def instance_masks(root: Path, split: str | None = None, *, repairs: Repairs | None = None) -> Dataset:
    """Reads images with numbered objects (0 = background): Samples with boxes, masks and the one class 0.

    The class is named by the line of `root`/classes.txt, or "object". Arguments and errors as in `semantic_masks`.
    """
    root, repairs = Path(root), Repairs("images and instance masks") if repairs is None else repairs
    _, chosen = all_pairs(root, split, repairs)
    file = root / "classes.txt"
    names = read_names(file) if file.is_file() else ["object"]
    if len(names) != 1:
        raise DataError(f"{file}: expected one class, since the masks number objects, found {len(names)}")
    without_boxes, masks = _records(root, chosen, repairs)
    records = []
    for record in without_boxes:
        with repairs.skipping(record.id, record.file, "broken mask"):
            boxes = npboxes.of_numbers(_numbers(masks[record.id], record.image_size))
            check_masks(len(boxes), record.image_size, masks[record.id])
            records.append(replace(record, boxes=boxes, labels=np.zeros(len(boxes), np.int32)))
    source = f"images and instance masks, split {split or 'all'}"
    return Dataset(records, names, partial(_load_instances, masks), source)


def _records(root: Path, pairs: list[Pair], repairs: Repairs) -> tuple[list[Sample], dict[str, Path]]:
    """(a record for each image, id -> its mask)."""
    ids = sample_ids([image.relative_to(root) for image, _ in pairs])
    records = []
    for id, (image, _) in zip(ids, pairs, strict=True):
        with repairs.skipping(id, image, "broken image"):
            records.append(Sample(id=id, file=image, image_size=image_size(image)))
    return records, dict(zip(ids, (mask for _, mask in pairs), strict=True))


def _values(pairs: list[Pair], repairs: Repairs) -> tuple[dict[int, Path], set[Pair]]:
    """(value -> a mask that contains it, the pairs whose mask can be read and has the size of its image)."""
    values: dict[int, Path] = {}
    good: set[Pair] = set()
    for image, mask in pairs:
        with repairs.skipping(image.stem, image, "broken image"):
            size = image_size(image)
            with repairs.skipping(image.stem, image, "broken mask"):
                for value in _used(_check_size(read_mask(mask), mask, size)).tolist():
                    values.setdefault(value, mask)
                good.add((image, mask))
    if not values:
        raise DataError(f"{pairs[0][1].parent if pairs else 'masks'}: holds no mask that can be read")
    return values, good


def _named_values(
    file: Path, values: dict[int, Path], void: int | None, repairs: Repairs
) -> tuple[dict[int, str], set[int]]:
    """(value -> name from a file of classes, values to ignore because they have no name or their name says so)."""
    named = dict(enumerate(read_names(file)))
    if set(values) == {0, 255} and len(named) == 2 and void != 255 and named[1].lower() not in _VOID:
        named = {0: named[0], 255: named[1]}  # black and white: 255 must be the second class, not ignored pixels
    ignored = {value for value, name in named.items() if name.lower() in _VOID}
    for value in sorted(values.keys() - named.keys() - {IGNORE, void}):
        with repairs.skipping(values[value].stem, values[value]):
            text = f"{values[value]}: holds the value {value}, but {file} names 0..{len(named) - 1}"
            raise DataError(text, "unknown class")
        ignored.add(value)  # reached only if the error was recorded instead of raised
    return named, ignored


def _table(
    named: dict[int, str], ignored: set[int], values: dict[int, Path], void: int | None
) -> tuple[np.ndarray, list[str]]:
    """(int32 table from mask value to class id, class names).

    The table has 255 for ignored values and -1 for values without a meaning; its last entry, -1, stands for all values
    beyond it.
    """
    if void is not None:
        if not 0 <= void <= 65535:
            raise DataError(f"void: expected a value of the masks, 0 to 65535, found {void}")
        ignored = ignored | {void}
    if IGNORE not in named:
        ignored = ignored | {IGNORE}
    named = {value: name for value, name in named.items() if value not in ignored}
    if len(named) > IGNORE or min(values) < 0 or max(values) > 65535:
        where = values[max(values)]
        raise DataError(f"{where}: expected a class map of at most {IGNORE} values, found {len(named)}: photographs?")
    table = np.full(max(*values, *named, *ignored) + 2, UNKNOWN, np.int32)
    table[list(ignored)] = IGNORE
    table[list(named)] = np.arange(len(named))
    return table, list(named.values())


def _check_size(mask: np.ndarray, file: Path, image_size: tuple[int, int]) -> np.ndarray:
    if mask.shape != image_size:
        kind = "EXIF orientation" if mask.shape == image_size[::-1] else "image size"
        raise DataError(f"{file}: height, width {mask.shape}, but its image has {image_size}", kind)
    return mask


def _load_map(masks: dict[str, Path], table: np.ndarray, record: Sample) -> Sample:
    file = masks[record.id]
    segmentation = _check_size(read_mask(file), file, record.image_size)
    for part in _parts(segmentation):
        values = part.copy()
        part[:] = table[np.minimum(values, len(table) - 1)]
        # Impossible unless the file changed: all masks were read when the data set was opened.
        if (unknown := part == UNKNOWN).any():
            raise DataError(
                f"{file}: holds the value {values[unknown][0]}, which is no class; the file has changed since it was "
                "opened"
            )
    return check_sample(replace(load_image(record), segmentation=segmentation))


def _parts(mask: np.ndarray) -> list[np.ndarray]:
    """Views of the rows of a mask, a few at a time: what is computed for a large one need not take several copies."""
    return np.array_split(mask, -(-mask.size // 2**20) or 1)


def _used(mask: np.ndarray) -> np.ndarray:
    """The values in a mask, ascending."""
    return np.unique(np.concatenate([np.unique(part) for part in _parts(mask)]))


def _numbers(file: Path, image_size: tuple[int, int]) -> np.ndarray:
    """The number of the object at each pixel, `[H, W]`, counted from 1; 0 is background."""
    mask = _check_size(read_mask(file), file, image_size)
    ids = _used(mask)
    ids = ids[ids > 0]
    if len(ids) > MAX_INSTANCES:
        raise DataError(f"{file}: {len(ids)} values are above the limit of {MAX_INSTANCES} objects: a photograph?")
    for part in _parts(mask):
        part[:] = np.where(part > 0, np.searchsorted(ids, part) + 1, 0)
    return mask


def _load_instances(masks: dict[str, Path], record: Sample) -> Sample:
    numbers = _numbers(masks[record.id], record.image_size)
    count = len(objects_of(record).boxes)
    objects = (numbers == np.arange(1, count + 1)[:, None, None]).view(np.uint8)  # [N, H, W]
    return check_sample(replace(load_image(record), masks=objects))

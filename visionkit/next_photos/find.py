"""From a model and a folder of photos to those that are worth labelling next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import as_predictor
from visionkit.files import sha256_of
from visionkit.image_files import find_images
from visionkit.next_photos.choose import choose
from visionkit.next_photos.look import comparable, look
from visionkit.predict.predictor import Failure, Prediction
from visionkit.types import Classification, DataError, Detections

SCORE = 0.3  # from which detections count, as in `visionkit detect`
COMPARED = 2000  # labelled photos at most, evenly spread, from which the chosen ones should differ


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A photo that is worth labelling.

    Args:
        file: the photo.
        doubt: 0 and above, how unsure the model is of it: a classifier's 1 - the margin between its two best classes, a
            segmenter's mean entropy of a pixel, both up to 1, and a detector's sum of the doubts of its detections.
        distance: 0 to 2, to the nearest photo that was labelled or chosen before; NaN if there was none.
        prediction: what the model says of it, with detections from the score on that was asked for.
    """

    file: Path
    doubt: float
    distance: float
    prediction: Prediction

    def in_words(self) -> str:
        """Why it was chosen, such as "coat 0.41 or dress 0.38; unlike the others (1.21)"."""
        unlike = "" if np.isnan(self.distance) else f"; unlike the others ({self.distance:.2f})"
        return self._unsure() + unlike

    def _unsure(self) -> str:
        said = self.prediction
        if isinstance(said, Classification):
            first, *second = np.argsort(-said.scores, kind="stable")[:2].tolist()
            return " or ".join(f"{said.name_of(k)} {said.scores[k]:.2f}" for k in (first, *second))
        if isinstance(said, Detections):
            return f"{len(said)} objects; with those below the score, their doubts add up to {self.doubt:.2f}"
        return f"entropy {self.doubt:.2f} of a pixel, of 1"

    def to_json(self) -> dict[str, Any]:
        """The choice as a JSON object; what the model says of the photo is left to `visionkit detect`."""
        distance = None if np.isnan(self.distance) else round(self.distance, 4)
        return {"file": str(self.file), "doubt": round(self.doubt, 4), "distance": distance, "why": self.in_words()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """What to label next.

    Args:
        chosen: in the order in which to label them.
        photos: how many there are.
        labelled: how many of them were left out, because they are labelled already.
        failures: those that could not be read.
    """

    chosen: list[Choice]
    photos: int
    labelled: int
    failures: list[Failure]

    def to_json(self) -> dict[str, Any]:
        """The selection as a JSON object."""
        broken = [failure.error for failure in self.failures]
        chosen = [choice.to_json() for choice in self.chosen]
        return {"photos": self.photos, "labelled": self.labelled, "broken": broken, "chosen": chosen}


def next_photos(
    predictor: Any,
    photos: Path | str | Iterable[Path | str],
    n: int = 50,
    dataset: Dataset | None = None,
    score: float = SCORE,
) -> Selection:
    """Chooses the photos that are worth labelling next: those about which a model is unsure, and which differ.

    Args:
        predictor: a Task, or a `Predictor` of one, that detects, segments or classifies; an export has no features in
            which photos can be compared.
        photos: files, folders, globs, or lists in .txt files.
        n: how many to choose.
        dataset: what is labelled already. Its images are left out where they are among the photos, by their content,
            and the chosen ones should differ from the others too.
        score: the score from which a detector's detections count as objects; those near it are the doubtful ones.

    Returns:
        A `Selection`: the photos in the order in which they are worth labelling, each with what the model says of it.

    Raises:
        DataError: the model has no such features or knows none of the classes of `dataset`, there are no photos, or
            fewer than `n` are left.
    """
    predictor = as_predictor(predictor)
    if n < 1:
        raise DataError(f"-n {n}: expected 1 or more photos to choose")
    if not 0 < score < 1:
        raise DataError(f"--score {score}: expected more than 0 and less than 1")
    files = find_images(photos)
    if dataset is not None:
        _check_classes(predictor, dataset)
    left = files if dataset is None else without_copies(files, dataset)
    labelled = len(files) - len(left)
    _check_enough(n, len(left), len(files), labelled, 0)
    seen = look(predictor, left, score)
    _check_enough(n, len(seen.read), len(files), labelled, len(seen.failures))
    known = None
    features = seen.features
    if dataset is not None and len(dataset):
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(COMPARED, len(dataset))).astype(int)).tolist()
        features, known = comparable(features, look(predictor, dataset.subset(rows), score).features)
    else:
        (features,) = comparable(features)
    picked = choose(seen.doubts, features, n, known)
    chosen = [left[seen.read[row]] for row, _ in picked]
    said = predictor(chosen, score=score)
    return Selection(
        chosen=[
            Choice(file=file, doubt=float(seen.doubts[row]), distance=distance, prediction=prediction)
            for file, (row, distance), prediction in zip(chosen, picked, said, strict=True)
        ],
        photos=len(files),
        labelled=labelled,
        failures=seen.failures,
    )


def _check_classes(predictor: Any, dataset: Dataset) -> None:
    """Refuses a data set of which the model knows no class: it is another one. New classes beside old ones are fine."""
    names = [name for name in dataset.class_names if not name.isdecimal()]  # numbers are of maps without names
    known = {*predictor.class_names, *getattr(predictor, "synonyms", ())}
    if names and not known & set(names):
        theirs, ours = ", ".join(names[:5]), ", ".join(predictor.class_names[:5])
        raise DataError(f"{dataset.source}: labelled with {theirs}, but the model knows {ours}; is it other data?")


def without_copies(files: Sequence[Path], dataset: Dataset) -> list[Path]:
    """The files that are no images of the data set, not even under another name: the same bytes are the same photo."""
    copies = copies_of(files, (record.file for record in dataset.records if record.file is not None))
    return [file for file in files if file not in copies]


def copies_of(files: Iterable[Path], known: Iterable[Path]) -> set[Path]:
    """Those of `files` whose bytes are those of a known file, which may be the same one; only equal sizes are read."""
    sizes = {file: file.stat().st_size for file in files}
    wanted = set(sizes.values())
    alike = [file for file in known if file.stat().st_size in wanted]
    found = {file.stat().st_size for file in alike}
    digests = {sha256_of(file) for file in alike}
    return {file for file, size in sizes.items() if size in found and sha256_of(file) in digests}


def _check_enough(n: int, left: int, photos: int, labelled: int, broken: int) -> None:
    if n <= left:
        return
    gone = [f"{labelled} are labelled already"] if labelled else []
    gone += [f"{broken} cannot be read"] if broken else []
    because = f" ({photos} in all, of which {' and '.join(gone)})" if gone else ""
    advice = f"give -n {left} or less, or more photos" if left else "give other photos"
    raise DataError(f"-n {n}: only {left} left to choose from{because}; {advice}")

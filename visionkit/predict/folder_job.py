"""The work that `predict.folders` does for each task: predict what has no results yet, write it down, summarise."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from visionkit import images, resizing
from visionkit.files import locked, write_bytes
from visionkit.predict.ahead import ahead
from visionkit.predict.folder_layout import JOURNAL, FolderLayout
from visionkit.predict.formats import CLASSES, to_record
from visionkit.predict.inputs import Failure
from visionkit.predict.journal import Journal, Records, earlier_settings, stamp_of
from visionkit.predict.predictor import Predictor
from visionkit.predict.progress import progress_bar
from visionkit.predict.summary import PredictionSummary
from visionkit.predict.tiling import Tiled
from visionkit.types import DataError, Sample

JPEG_SIDE = 65_500  # pixels, the longest side that the JPEG encoder accepts
KEPT = 2**26  # bytes of decoded images that are kept for their pictures; images beyond that are decoded again
SETTINGS = ("runtime", "class_names", "tile", "flip", "window")  # attributes of a predictor that its results depend on
# Those that make other results, by what the command line calls them. A runtime gives the same ones, proven or nearly.
REFUSED = {
    "task": "MODEL",
    "class_names": "MODEL",
    "made_by": "MODEL",
    "score": "--score",
    "tile": "--tile",
    "flip": "--flip",
    "window": "--window",
}


@dataclass(frozen=True, kw_only=True)
class TaskOutputs:
    """What a task writes to the output folder besides results.jsonl.

    Args:
        tables: names of the files that every run writes anew.
        write_files: (records of all images, journal) -> names of label files that were left alone because somebody
            has changed them; called when all images are done.
        draw: (image uint8 `[H, W, 3]`, prediction) -> the picture, uint8; None means no pictures.
        encode_mask: prediction -> its class map as the bytes of a PNG; None means neither masks nor class names.
    """

    tables: Sequence[str]
    write_files: Callable[[Records, Journal], list[str]]
    draw: Callable[[np.ndarray, Any], np.ndarray] | None = None
    encode_mask: Callable[[Any], bytes] | None = None


def run_folder(
    predictor: Predictor | Tiled,
    paths: Path | str | Iterable[Path | str],
    out: Path,
    outputs: TaskOutputs,
    *,
    score: float | None,
    made_by: str | None,
    replace: bool,
    progress: bool,
) -> PredictionSummary:
    """Runs the predictor over the images that have no results in `out` yet; arguments as in `detect_folder`."""
    layout = FolderLayout(
        paths,
        out,
        tables=outputs.tables,
        pictures=outputs.draw is not None,
        masks=outputs.encode_mask is not None,
    )
    layout.check_nothing_is_lost()
    out.mkdir(parents=True, exist_ok=True)
    settings = None if made_by is None else _settings(predictor, made_by, score)
    with locked(out):
        if settings is not None and not replace:
            _check_same(out, settings)
        with progress_bar(progress) as bar, Journal(out / JOURNAL, settings) as journal:
            journal.claim(layout.always_written - layout.earlier_files)
            return FolderJob(predictor, layout, outputs, journal, score).run(bar)


def _settings(predictor: Predictor | Tiled, made_by: str, score: float | None) -> dict:
    settings = {"made_by": made_by, "task": predictor.task, "score": score}
    for name in SETTINGS:
        settings[name] = getattr(predictor, name, None)
    return json.loads(json.dumps(settings))  # as they are read from a journal: tuples are lists there


def _check_same(out: Path, settings: dict) -> None:
    """Raises a `DataError` if results in `out` were made by another model, or with other options."""
    earlier = earlier_settings(out / JOURNAL)
    if earlier is None:
        return
    for key, option in REFUSED.items():
        was, now = earlier.get(key), settings[key]
        if was == now:
            continue
        what = f"holds results made with {option} {was}, now {now}"
        if option == "MODEL":
            what = "holds results of another model, or of an earlier training of this one"
        if key == "made_by" and str(was).partition(" ")[0] == now.partition(" ")[0]:
            what = "holds results with another guarantee, or with none"
        raise DataError(f"{out}: {what}; choose another --out, or --replace them (what was changed by hand stays)")


class FolderJob:
    """One run over the images of a layout: predicts, writes pictures and masks, and records what is done.

    Args:
        predictor: what gives the predictions.
        layout: the images and the names of the files that are written for them.
        outputs: how those files are made.
        journal: open; its records decide which images are done already.
        score: detections below it are left out.
    """

    def __init__(
        self,
        predictor: Predictor | Tiled,
        layout: FolderLayout,
        outputs: TaskOutputs,
        journal: Journal,
        score: float | None,
    ):
        self.predictor, self.layout, self.outputs = predictor, layout, outputs
        self.journal, self.score = journal, score
        self.stamps = [stamp_of(file) for file in layout.files]
        self.pending = [number for number in range(len(layout.files)) if not self._is_done(number)]
        self.originals = Originals(layout.files, self.pending, KEPT if outputs.draw else 0)
        self.failed: dict[int, Failure] = {}  # by the number of the image
        self.corrected: list[str] = []

    def run(self, bar: Progress) -> PredictionSummary:
        """Does what is pending, then writes the tables and labels of all images."""
        if self.outputs.encode_mask:
            self._write_class_names()
        self._predict_pending(bar)
        records = self.journal.records(self.layout.names, self.failed)
        self.corrected += self.outputs.write_files(records, self.journal)
        return PredictionSummary(
            done=len(self.layout.files) - len(self.failed),
            rows=sum(len(record.get("objects", record.get("areas", "1"))) for record in records),
            failed=list(self.failed.values()),
            earlier=len(self.layout.files) - len(self.pending),
            corrected=self.corrected,
        )

    def _is_done(self, number: int) -> bool:
        written = self.layout.written_for(number)
        if not self.journal.done(self.layout.names[number], self.stamps[number], written):
            return False
        return all((self.layout.out / name).is_file() for name in written)

    def _write_class_names(self) -> None:
        """Written before the masks, because it says what their numbers mean."""
        text = "".join(f"{name}\n" for name in self.predictor.class_names)
        write_bytes(self.layout.out / CLASSES, text.encode(errors="surrogateescape"))

    def _predict_pending(self, bar: Progress) -> None:
        total = len(self.layout.files)
        task = bar.add_task(self.predictor.task, total=total, completed=total - len(self.pending))
        predictions = zip(self.pending, self.predictor(self.originals, score=self.score, failures="yield"), strict=True)
        depth = 2 if self.predictor.task == "instance" else 4  # each instance mask is as large as its photo
        for number, result in ahead(predictions, self._save, depth=depth):
            if isinstance(result, Failure):
                self.failed[number] = result
            else:  # only now that its picture and mask are written: what the journal records is done
                written = self.layout.written_for(number)
                self.journal.add(self.layout.names[number], self.stamps[number], result, written)
            bar.advance(task)

    def _save(self, item: tuple[int, Any]) -> tuple[int, dict | Failure]:
        """Writes the picture and the mask of one image and returns its record; runs in threads beside the model."""
        number, prediction = item
        if isinstance(prediction, Failure):
            return number, prediction
        if self.outputs.draw:
            try:
                original = self.originals.take(number)
            except (DataError, OSError) as error:  # the file has gone since its prediction
                return number, Failure(id=prediction.id, file=self.layout.files[number], error=str(error))
            picture = _fit_for_jpeg(self.outputs.draw(original, prediction))
            images.write_image(self.layout.out / self.layout.pictures[number], picture)
        if self.outputs.encode_mask:
            name = self.layout.masks[number]
            if not self.journal.write(name, self.outputs.encode_mask(prediction)):
                self.corrected.append(name)
        return number, to_record(prediction)  # a record, since a prediction would keep its full-size masks in memory


class Originals(Sequence[Path | Sample]):
    """The pending images as Samples for the predictor; their pixels are kept for the pictures while there is room.

    Args:
        files: all images.
        pending: the indices in `files` of those to predict, in order.
        limit: bytes of pixels that are kept between decoding and `take`.
    """

    def __init__(self, files: Sequence[Path], pending: Sequence[int], limit: int):
        self._files, self._pending, self._limit = files, pending, limit
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __getitem__(self, place: int) -> Path | Sample:  # called in the predictor's decoding threads
        number = self._pending[place]
        file = self._files[number]
        try:
            image = images.read_image(file)
        except (DataError, OSError):
            return file  # the predictor will meet the same error and report it
        kept = sum(pixels.nbytes for pixels in list(self._kept.values()))
        if kept + image.nbytes <= self._limit:
            self._kept[number] = image
        return Sample(id=str(file), file=file, image_size=image.shape[:2], image=image)

    def take(self, number: int) -> np.ndarray:
        """The pixels of `files[number]`, which are not kept any longer."""
        kept = self._kept.pop(number, None)
        return images.read_image(self._files[number]) if kept is None else kept


def _fit_for_jpeg(picture: np.ndarray) -> np.ndarray:
    """The picture, made smaller if it is too large for a JPEG."""
    h, w = picture.shape[:2]
    if max(h, w) <= JPEG_SIDE:
        return picture
    scale = JPEG_SIDE / max(h, w)
    return resizing.resize(picture, (max(1, int(h * scale)), max(1, int(w * scale))))

"""Makes the fast form of a model: exported in a process of its own, compared with the model, and only then kept."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import MONITOR, evaluate
from visionkit.export.export_model import export_model
from visionkit.export.exported import FILE, read_metadata
from visionkit.export.openvino import OpenVINO, has_bfloat16
from visionkit.export.verify import REPORT, ExportError
from visionkit.fast.kept import Fast, Source, note
from visionkit.files import write_json
from visionkit.images import write_image
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError

COMPARED = 20  # images on which the form is compared with the model
SCORED = (50, 500)  # fewer images prove nothing about a metric, and more only take longer
MOVES = 0.002  # by so much the metric may move for bfloat16


def make(
    source: Source, file: Path, runtime: str, images: Sequence[Path] = (), data: Dataset | None = None
) -> tuple[Path, Fast]:
    """Writes the fast form of a model, or notes why there is none.

    Args:
        source: the model.
        file: its .keras file.
        runtime: "openvino" or "onnx".
        images: to compare on, at most `COMPARED` of them; without any, and without `data`, drawn ones.
        data: labelled, in place of `images`. OpenVINO's form then computes in bfloat16, where the processor can and the
            metric proves that it hardly moves.

    Returns:
        The folder of forms, and what is known about this one.

    Raises:
        DataError, OSError: no folder can be written to.
    """
    folder = _writable(source.places(runtime), runtime)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as temporary:
        part, key = Path(temporary) / "form", source.key(runtime)
        shown = list(images) if data is None else _shown(data, Path(temporary) / "images")
        try:
            export_model(file, runtime, part, shown or None, COMPARED)
        except ExportError as error:
            fast = Fast(key=key, refused=str(error).partition(" (kept in")[0], scores={})
        else:
            report = json.loads((part / REPORT).read_text(encoding="utf-8"))
            proven = report["verdict"] == "passed"
            refused = "" if proven or not shown else "nothing was found on the images to compare on"
            scores = _scores(part, data) if data is not None and runtime == "openvino" and not refused else {}
            fast = Fast(
                key=key,
                refused=refused,
                precision="bfloat16" if scores and _hardly_moves(scores) else "float32",
                images=report["images"] if proven else 0,
                scores=scores,
            )
        note(folder, runtime).unlink(missing_ok=True)  # first: what is moved now must not be taken for what it says
        if (folder / runtime).exists():
            shutil.rmtree(folder / runtime)
        if not fast.refused:
            part.rename(folder / runtime)
        write_json(note(folder, runtime), fast)
    return folder, fast


def _writable(folders: Sequence[Path], runtime: str) -> Path:
    """The first of the folders that can be written to and in which a form would replace nothing but an earlier one."""
    problem: Exception = DataError("no folder to write to")
    for folder in folders:
        if (folder / runtime).exists() and not (folder / runtime / FILE).is_file():
            problem = DataError(f"{folder / runtime}: not written by visionkit; move it away")
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            problem = error
            continue
        return folder
    raise problem


def _shown(data: Dataset, folder: Path) -> list[Path]:
    """Image files of a data set, evenly chosen among those with objects, if there are such; arrays become files."""
    full = [i for i, record in enumerate(data.records) if record.boxes is None or len(record.boxes)]
    chosen = _evenly(full or list(range(len(data))), COMPARED)
    files: list[Path] = []
    for i in chosen:
        record = data.records[i]
        if record.file is not None and record.image is None:
            files.append(record.file)
            continue
        image = data[i].image
        assert image is not None  # a complete Sample has one
        folder.mkdir(exist_ok=True)
        files.append(folder / f"{i}.png")
        write_image(files[-1], image)
    return files


def _evenly(items: list[int], count: int) -> list[int]:
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else items


def _scores(folder: Path, data: Dataset) -> dict[str, Any]:
    """The metric of OpenVINO's form in both precisions; {} where it would prove nothing."""
    if len(data) < SCORED[0] or not has_bfloat16():
        return {}
    data = data.subset(_evenly(list(range(len(data))), SCORED[1]))
    metric = MONITOR[read_metadata(folder)["task"]]
    scores: dict[str, Any] = {"metric": metric, "images": len(data)}
    for precision in ("float32", "bfloat16"):
        predictor = Predictor(OpenVINO("openvino", precision).load(folder))
        scores[precision] = evaluate(predictor, data, intervals=False)[metric]
    return scores


def _hardly_moves(scores: dict[str, Any]) -> bool:
    return abs(scores["bfloat16"] - scores["float32"]) <= MOVES

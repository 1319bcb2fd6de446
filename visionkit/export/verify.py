"""Proof that an exported model gives the answers of the model that it was made from."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from visionkit.export.answers import Answer
from visionkit.export.compare import SCORE, TOLERANCES, Tolerance, compare_answers
from visionkit.predict.inputs import Failure
from visionkit.resizing import best_size
from visionkit.types import Detections

REPORT = "export_report.json"
FILES = (".onnx", ".tflite", ".xml", ".bin", ".keras", ".pb")  # what counts as the model's size; also variables/*
PACKAGES = ("visionkit", "keras", "tensorflow", "tensorflow-cpu", "numpy")
Report = dict[str, Any]  # what export_report.json holds


class ExportError(RuntimeError):
    """The export failed, or what it wrote does not give the model's answers; one line."""


def verify(
    expected: Sequence[Answer],
    exported: Sequence[Answer | str],
    room: int,
    tolerance: Tolerance = TOLERANCES["float32"],
) -> Report:
    """Compares the answers of a model and of its export for the same images; see `compare` for each kind of answer.

    Args:
        expected: the model's answer for each image; of detections at least those down to `SCORE` less the tolerance.
        exported: the export's. A string is the error that it gave instead.
        room: the most detections that an image can have.
        tolerance: what may differ.

    Returns:
        JSON-ready: verdict "passed", "failed" or "nothing to compare" (a detector without any detection that high);
        images, compared (detections or images), agreeing (share of them); of each measure its worst and its mean; the
        tolerance, and failures: a list of sentences by image. An error or another image size always fails; otherwise
        the share of what agrees decides.
    """
    measures: dict[str, list[float]] = {}
    failures: dict[str, list[str]] = {}
    broken, unpaired = False, 0
    for ours, theirs in zip(expected, exported, strict=True):
        if isinstance(theirs, str):
            problems, broken = [f"the export gave an error: {theirs}"], True
        elif tuple(ours.image_size) != tuple(theirs.image_size):
            problems = [f"the image is {ours.image_size} (height, width), but {theirs.image_size} to the export"]
            broken = True
        else:
            measured, problems = compare_answers(ours, theirs, tolerance, room)
            unpaired += len(problems) if isinstance(ours, Detections) else bool(problems)
            for name, values in measured.items():
                measures.setdefault(name, []).extend(values)
        if problems:
            failures[ours.id] = problems
    measures = {name: values for name, values in measures.items() if values}
    pairs = max((len(values) for values in measures.values()), default=0)
    detects = "iou" in measures or not measures
    compared = pairs + unpaired if detects else pairs  # a detection without a partner is measured by nothing
    agreeing = 1 - unpaired / compared if compared else 1.0
    verdict = "passed" if compared else "nothing to compare"
    if broken or agreeing < tolerance.agreeing:
        verdict = "failed"
    return {
        "verdict": verdict,
        "images": len(expected),
        "compared": compared,
        "agreeing": agreeing,
        "measures": {
            name: {"worst": (max if "difference" in name else min)(values), "mean": sum(values) / len(values)}
            for name, values in measures.items()
        },
        "tolerance": asdict(tolerance),
        "failures": failures,
    }


def check_export(
    name: str,
    exporter: Any,
    predictor: Callable[..., Iterable[Answer | Failure]],
    folder: Path,
    files: Sequence[Path],
    room: int,
    check: str,
    numbers: int = 0,
    sizes: Sequence[tuple[int, int]] = (),
) -> Report:
    """Runs an export on image files, compares it with `predictor` and writes `folder/export_report.json`.

    Args:
        name: of the exporter in `EXPORTERS`.
        exporter: the exporter.
        predictor: a Predictor of the model that was exported, or a Painter.
        folder: the export.
        files: images; one that the predictor cannot read is left out and named under "unreadable".
        room: the most detections that the model gives for an image.
        check: where the images come from, for the report.
        numbers: how many weights the model has; 0 where that is of no interest.
        sizes: at which the model itself sees images, the export's first; see `predictor.sizes_of`.

    Returns:
        The report: what `verify` returns, exporter, check, how many images the model itself sees at another size, size
        of the model's files in bytes, what its weights take as float32, seconds and versions.

    Raises:
        ExportError: the answers differ; the report is written nevertheless.
    """
    start, tolerance = time.monotonic(), TOLERANCES[getattr(exporter, "precision", "float32")]
    results = list(predictor(list(files), score=max(0.01, SCORE - 2 * tolerance.score), failures="yield"))
    expected = [(file, result) for file, result in zip(files, results, strict=True) if not isinstance(result, Failure)]
    exported = exporter.predict_alone(folder, [file for file, _ in expected])
    report = verify([answer for _, answer in expected], exported, room, tolerance)
    versions = {package: _version(package) for package in (*PACKAGES, *getattr(exporter, "packages", ()))}
    report |= {
        "exporter": name,
        "check": check,
        "other_size": sum(best_size(answer.image_size, sizes) != sizes[0] for _, answer in expected) if sizes else 0,
        "unreadable": [result.error for result in results if isinstance(result, Failure)],
        "bytes": size_of(folder),
        "float32_bytes": 4 * numbers,
        "seconds": round(time.monotonic() - start, 1),
        "versions": {"python": sys.version.split()[0]} | {name: found for name, found in versions.items() if found},
    }
    _write(folder, report)
    if report["verdict"] == "failed":
        image, problems = next(iter(report["failures"].items()))
        many = f"{len(report['failures'])} of {report['images']} images"
        raise ExportError(f"the export differs from the model on {many}; {image}: {problems[0]} (all in {REPORT})")
    return report


def add_scores(folder: Path, report: Report, scores: dict[str, Any]) -> Report:
    """Adds scores on labelled data to a report, and judges them.

    Args:
        folder: the export.
        report: of `check_export`.
        scores: {"metric", "data", "before", "after"}.

    Raises:
        ExportError: the metric fell by more than the tolerance; the report is written nevertheless.
    """
    loss, allowed = scores["before"] - scores["after"], report["tolerance"]["metric"]
    report = report | {"scores": scores | {"loss": loss}}
    if not loss <= allowed:
        report["verdict"] = "failed"
    _write(folder, report)
    if report["verdict"] == "failed":
        raise ExportError(
            f"{scores['metric']} on {scores['data']} falls from {scores['before']:.4f} to {scores['after']:.4f}, "
            f"more than {allowed}"
        )
    return report


def size_of(folder: Path | str) -> int:
    """Bytes of the files that hold the model."""
    folder = Path(folder)
    files = [f for f in folder.rglob("*") if f.suffix in FILES or f.parent.name == "variables"]
    return sum(file.stat().st_size for file in files)


def summary(report: Report) -> str:
    """One line about a report that did not fail."""
    line = _agreement(report)
    if report.get("other_size"):
        line += (
            f"; {report['other_size']} of them are portraits or squares, which the model itself sees at a size of "
            "their own but the export does not: detections there may differ (docs/predict.md)"
        )
    if scores := report.get("scores"):
        line += f"; {scores['metric']} {scores['before']:.4f} -> {scores['after']:.4f} on {scores['data']}"
    if whole := report.get("float32_bytes"):
        share = report["bytes"] / whole
        line += f"; {report['bytes'] / 1e6:.2f} MB, {share:.1%} of what its weights take as float32"
    return line


def _agreement(report: Report) -> str:
    where = f"{report['images']} images ({report['check']})"
    worst = {name: row["worst"] for name, row in report["measures"].items()}
    if not report["images"]:
        return f"NOTHING WAS COMPARED: no image of {report['check']} could be read"
    if not report["compared"]:
        why = f"no score reaches {SCORE}; check with images that hold objects"
        return f"runs on {where}, but NOTHING WAS COMPARED: {why}"
    if "iou" in worst:
        line = (
            f"{_share(report, 'detections')} on {where} agree: IoU at least {worst['iou']:.4f}, boxes within "
            f"{worst['box_difference']:.2f} px, scores within {worst['score_difference']:.4f}"
        )
        if "keypoint_difference" in worst:
            line += f", nine in ten keypoints within {worst['keypoint_difference']:.1%} of the box's diagonal"
        return line + (f", masks' IoU at least {worst['mask_iou']:.3f}" if "mask_iou" in worst else "")
    line = f"{_share(report, 'images')} ({report['check']}) agree: "
    if "probability_difference" in worst:
        return line + f"probabilities within {worst['probability_difference']:.5f}, the same best class"
    if "level_difference" in worst:
        return line + f"every pixel within {worst['level_difference']} of 255 grey levels"
    return line + f"at least {worst['equal_pixels']:.4%} of the pixels"


def _share(report: Report, what: str) -> str:
    agreeing = round(report["agreeing"] * report["compared"])
    return f"{agreeing} {what}" if agreeing == report["compared"] else f"{agreeing} of {report['compared']} {what}"


def _write(folder: Path, report: Report) -> None:
    (Path(folder) / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

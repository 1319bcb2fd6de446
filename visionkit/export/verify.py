"""Proof that an exported model says what the model it was made from says."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from visionkit.export.compare import SCORE, TOLERANCES, Tolerance, compare_of
from visionkit.predict.predictor import Failure

REPORT = "export_report.json"
FILES = (".onnx", ".tflite", ".xml", ".bin", ".keras", ".pb")  # what counts as the model's size; also variables/*


class ExportError(RuntimeError):
    """The export failed, or what it wrote does not do what the model does; one line."""


def verify(expected: Sequence, found: Sequence, room: int, tolerance: Tolerance = TOLERANCES["float32"]) -> dict:
    """Compares what a model and its export say of the same images: see `compare` for each kind of prediction.

    Args:
        expected, found: one prediction an image; detections down to `SCORE` less the tolerance of scores at least. A
            string in `found` is the error that the export gave instead.
        room: the most detections an image can have.

    Returns:
        JSON-ready: verdict "passed", "failed" or "nothing to compare" (a detector without any detection that high);
        images, compared (detections or images), agreeing (share of them); of each measure its worst and its mean; the
        tolerance, and failures: a list of sentences by image. An error or another image size always fails; else the
        share of what agrees decides.
    """
    measures, failures, broken, unpaired = {}, {}, False, 0
    for one, other in zip(expected, found, strict=True):
        if isinstance(other, str):
            problems, broken = [f"the export gave an error: {other}"], True
        elif tuple(one.image_size) != tuple(other.image_size):
            problems = [f"the image is {one.image_size} (height, width), but {other.image_size} to the export"]
            broken = True
        else:
            measured, problems = compare_of(one)(one, other, tolerance, room)
            unpaired += len(problems) if hasattr(one, "boxes") else bool(problems)
            for name, values in measured.items():
                measures.setdefault(name, []).extend(values)
        if problems:
            failures[one.id] = problems
    measures = {name: values for name, values in measures.items() if values}
    pairs = max((len(values) for values in measures.values()), default=0)
    detects = "iou" in measures or not measures
    compared = pairs + unpaired if detects else pairs  # a detection without a partner is measured by nothing
    agreeing = 1 - unpaired / compared if compared else 1.0
    failed = broken or agreeing < tolerance.agreeing
    return {
        "verdict": "failed" if failed else "passed" if compared else "nothing to compare",
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
    name: str, exporter, predictor, folder: Path, files: Sequence[Path], room: int, check: str, numbers: int = 0
) -> dict:
    """Runs an export on image files, compares it with `predictor` and writes `folder/export_report.json`.

    Args:
        name, exporter: an item of `EXPORTERS`.
        predictor: a Predictor of the model that was exported.
        files: images; one that the predictor cannot read is left out and named under "unreadable".
        room: the most detections the model gives for an image.
        check: where the images come from, for the report.
        numbers: how many weights the model has; 0 where that is of no interest.

    Returns:
        The report: what `verify` returns, exporter, check, size of the model's files in bytes, what its weights take
        as float32, seconds and versions.

    Raises:
        ExportError: they differ; the report is written all the same.
    """
    start, tolerance = time.monotonic(), TOLERANCES[getattr(exporter, "precision", "float32")]
    results = list(predictor(list(files), score=max(0.01, SCORE - 2 * tolerance.score)))
    readable = [i for i, result in enumerate(results) if not isinstance(result, Failure)]
    found = exporter.predict_alone(folder, [files[i] for i in readable])
    report = verify([results[i] for i in readable], found, room, tolerance)
    packages = ("visionkit", "keras", "tensorflow", "tensorflow-cpu", "numpy", *getattr(exporter, "packages", ()))
    report |= {
        "exporter": name,
        "check": check,
        "unreadable": [result.error for result in results if isinstance(result, Failure)],
        "bytes": size_of(folder),
        "float32_bytes": 4 * numbers,
        "seconds": round(time.monotonic() - start, 1),
        "versions": {"python": sys.version.split()[0]} | {name: v for name in packages if (v := _version(name))},
    }
    _write(folder, report)
    if report["verdict"] == "failed":
        name, problems = next(iter(report["failures"].items()))
        many = f"{len(report['failures'])} of {report['images']} images"
        raise ExportError(f"the export differs from the model on {many}; {name}: {problems[0]} (all in {REPORT})")
    return report


def add_scores(folder: Path, report: dict, scores: dict) -> dict:
    """Adds what labelled data say to a report: {"metric", "data", "before", "after"}, and judges it.

    Raises:
        ExportError: the metric fell by more than the tolerance; the report is written all the same.
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


def summary(report: dict) -> str:
    """One line about a report that did not fail."""
    where = f"{report['images']} images ({report['check']})"
    measures = {name: row["worst"] for name, row in report["measures"].items()}
    if not report["compared"]:
        line = (
            f"runs on {where}, but NOTHING WAS COMPARED: no score reaches {SCORE}; check with images that hold objects"
        )
    elif "iou" in measures:
        line = (
            f"{_share(report, 'detections')} on {where} agree: IoU at least {measures['iou']:.4f}, boxes within "
            f"{measures['box_difference']:.2f} px, scores within {measures['score_difference']:.4f}"
        )
        if "mask_iou" in measures:
            line += f", masks' IoU at least {measures['mask_iou']:.3f}"
    elif "probability_difference" in measures:
        line = (
            f"{_share(report, 'images')} ({report['check']}) agree: probabilities within "
            f"{measures['probability_difference']:.5f}, the same best class"
        )
    else:
        equal = f"at least {measures['equal_pixels']:.4%} of the pixels"
        line = f"{_share(report, 'images')} ({report['check']}) agree: {equal}"
    if scores := report.get("scores"):
        line += f"; {scores['metric']} {scores['before']:.4f} -> {scores['after']:.4f} on {scores['data']}"
    if whole := report.get("float32_bytes"):
        share = report["bytes"] / whole
        line += f"; {report['bytes'] / 1e6:.2f} MB, {share:.1%} of what its weights take as float32"
    return line


def _share(report, what):
    agreeing = round(report["agreeing"] * report["compared"])
    return f"{agreeing} {what}" if agreeing == report["compared"] else f"{agreeing} of {report['compared']} {what}"


def _write(folder, report):
    (Path(folder) / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""Proof that an exported model detects what the model it was made from detects."""

import json
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.types import Detections

SCORE = 0.3  # detections from here on must agree
IOU_TOLERANCE = 0.98  # a partner overlaps by more
SCORE_TOLERANCE = 0.02  # and its score differs by no more
REPORT = "export_report.json"


class ExportError(RuntimeError):
    """The export failed, or what it wrote does not do what the model does; one line."""


def verify(expected: Sequence[Detections], found: Sequence[Detections | str], room: int) -> dict:
    """Compares detections of the same images, those of the model and those of its export.

    Every detection with a score of at least `SCORE`, on either side, needs a partner on the other: the same class, an
    IoU above `IOU_TOLERANCE` and a score within `SCORE_TOLERANCE`. Only where the other list is full may one be missing
    whose score is about that of the list's last entry: it was cut off there.

    Args:
        expected, found: one entry an image, with detections down to `SCORE - SCORE_TOLERANCE` at least; a string in
            `found` is the error that the export gave instead.
        room: the most detections an image can have.

    Returns:
        JSON-ready: verdict "passed", "failed" or "nothing to compare" (no detection that high in any image); images,
        detections (compared ones), the largest box_difference in pixels and score_difference and the smallest iou
        between partners, the tolerances, the versions, and failures: a list of sentences by image.
    """
    ious, scores, boxes, failures = [], [], [], {}
    for one, other in zip(expected, found, strict=True):
        problems = failures.setdefault(one.id, [])
        if isinstance(other, str):
            problems.append(f"the export gave an error: {other}")
            continue
        if tuple(one.image_size) != tuple(other.image_size):
            problems.append(f"the image is {one.image_size} (height, width), but {other.image_size} to the export")
            continue
        for side, a, b in (("the model", one, other), ("the export", other, one)):
            low = b.scores.min() + SCORE_TOLERANCE if len(b.scores) >= room else 0.0
            for i in np.flatnonzero(a.scores >= SCORE):
                iou = npboxes.iou(a.boxes[i : i + 1], b.boxes)[0]
                score = np.abs(b.scores - a.scores[i])
                partners = np.flatnonzero(
                    (b.labels == a.labels[i]) & (iou > IOU_TOLERANCE) & (score <= SCORE_TOLERANCE)
                )
                if not len(partners):
                    if a.scores[i] <= low:
                        continue
                    box = [round(float(v), 1) for v in a.boxes[i]]
                    problems.append(f"only {side} finds class {a.labels[i]} at {box} with score {a.scores[i]:.3f}")
                    continue
                best = partners[iou[partners].argmax()]
                ious.append(float(iou[best]))
                scores.append(float(score[best]))
                boxes.append(float(np.abs(a.boxes[i] - b.boxes[best]).max()))
    failures = {name: problems for name, problems in failures.items() if problems}
    return {
        "verdict": "failed" if failures else "passed" if ious else "nothing to compare",
        "images": len(expected),
        "detections": len(ious),
        "iou_minimum": min(ious, default=None),
        "box_difference_maximum": max(boxes, default=None),
        "score_difference_maximum": max(scores, default=None),
        "tolerances": {"score": SCORE, "iou": IOU_TOLERANCE, "score_difference": SCORE_TOLERANCE},
        "failures": failures,
    }


def check_export(exporter, predictor, folder: Path, files: Sequence[Path], room: int, check: str) -> dict:
    """Runs an export on image files, compares it with `predictor` and writes `folder/export_report.json`.

    Args:
        exporter: a module of `EXPORTERS`.
        predictor: a Predictor of the model that was exported.
        files: images; one that the predictor cannot read is left out and named under "unreadable".
        room: the most detections the model gives for an image.
        check: where the images come from, for the report.

    Returns:
        The report: what `verify` returns, exporter, check, seconds and versions.

    Raises:
        ExportError: they differ; the report is written all the same.
    """
    start = time.monotonic()
    results = list(predictor(list(files), score=SCORE - 2 * SCORE_TOLERANCE))
    readable = [i for i, result in enumerate(results) if isinstance(result, Detections)]
    found = exporter.detect_alone(folder, [files[i] for i in readable])
    report = verify([results[i] for i in readable], found, room)
    packages = ("visionkit", "keras", "tensorflow", "tensorflow-cpu", "numpy")
    report |= {
        "exporter": exporter.__name__.rpartition(".")[2],
        "check": check,
        "unreadable": [result.error for result in results if not isinstance(result, Detections)],
        "seconds": round(time.monotonic() - start, 1),
        "versions": {"python": sys.version.split()[0]} | {name: v for name in packages if (v := _version(name))},
    }
    file = Path(folder) / REPORT
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if report["verdict"] == "failed":
        name, problems = next(iter(report["failures"].items()))
        many = f"{len(report['failures'])} of {report['images']} images"
        raise ExportError(f"the export differs from the model on {many}; {name}: {problems[0]} (all in {REPORT})")
    return report


def summary(report: dict) -> str:
    """One line about a report of `check_export` that did not fail."""
    where = f"{report['images']} images ({report['check']})"
    if not report["detections"]:
        return (
            f"runs on {where}, but NOTHING WAS COMPARED: no score reaches {SCORE}; check with images that hold objects"
        )
    return (
        f"{report['detections']} detections on {where} agree: IoU at least {report['iou_minimum']:.4f}, boxes within "
        f"{report['box_difference_maximum']:.2f} px, scores within {report['score_difference_maximum']:.4f}"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

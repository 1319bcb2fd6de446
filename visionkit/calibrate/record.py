"""The record of a calibration that a run keeps, and what it says in one line."""

import json
from pathlib import Path

FILE = "calibration.json"


def in_one_line(run: Path) -> str:
    """Whether the scores of a run's model are calibrated, and what that changed."""
    file = run / FILE
    if not file.is_file():
        return "Its scores are not calibrated."
    try:
        record = json.loads(file.read_text())
        method, images, sure = record["method"], record["images"], record["sure"]
        error = sure or record["error"]
        before, after = error["before"][0], error["after"][0]
        if method == "none":
            return f"Its scores are not calibrated: no curve made them better on {images:,} images."
        which = " of detections with a score of at least 0.3" if sure else ""
        return (
            f"Its scores are calibrated ({method}, with {images:,} images): their calibration error{which} was "
            f"{before:.3f} and is {after:.3f}."
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return f"{FILE} is not what visionkit calibrate writes."

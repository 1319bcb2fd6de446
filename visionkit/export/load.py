"""Opens what `export_model` wrote."""

from pathlib import Path
from typing import Any

from visionkit.export import EXPORTERS, saved_model
from visionkit.export.exported import read_metadata
from visionkit.types import DataError


def load_exported(folder: Path | str, trust: bool = False) -> Any:
    """Loads what `export_model` wrote, for a Predictor, in the runtime that it was written for.

    Args:
        folder: the export.
        trust: see `saved_model.load`; it changes nothing for the other formats.

    Raises:
        DataError: the folder does not hold an export, or a broken one, or its runtime is not installed.
    """
    name = read_metadata(folder)["exporter"]
    if name not in EXPORTERS:
        raise DataError(f"{folder}: written by the exporter {name!r}, which this visionkit does not have")
    if name == saved_model.NAME:
        return saved_model.load(folder, trust)
    return EXPORTERS[name].load(folder)

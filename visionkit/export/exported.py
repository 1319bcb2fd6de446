"""What travels with every export, and an export in the place of a Task.

| key of `visionkit.json` | |
|---|---|
| `visionkit`, `exporter`, `model` | version, name in `EXPORTERS`, class of the Task |
| `task` | "detect", "instance", "classify", "segment" or "style" |
| `class_names` | of the class ids 0..K-1; of a style network the names of its styles |
| `image_size`, `channels`, `resize` | (height, width), 3 for RGB or 1 for grey, and the rule of `resizing.fit` |
| `licence` | of the weights, where it is known; else "unknown" |
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import visionkit
from visionkit.types import DataError

FILE = "visionkit.json"
KEYS = ("visionkit", "exporter", "model", "task", "class_names", "image_size", "channels", "resize", "licence")


def write_metadata(model, exporter: str, folder: Path | str) -> None:
    """Writes the table above about a Task into an export's folder, which is made if need be."""
    metadata = {
        "visionkit": visionkit.__version__,
        "exporter": exporter,
        "model": type(model).__name__,
        "task": model.task,
        "class_names": list(model.class_names),
        "image_size": list(model.image_size),
        "channels": model.channels,
        "resize": model.resize,
        "licence": model.licence,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def read_metadata(folder: Path | str) -> dict:
    """What `write_metadata` wrote.

    Raises:
        DataError: the folder is no export of visionkit.
    """
    file = Path(folder) / FILE
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder}: not a model exported by visionkit: {error}") from None
    if missing := [key for key in KEYS if not isinstance(metadata, dict) or key not in metadata]:
        raise DataError(f"{folder}: not a model exported by visionkit: {FILE} lacks {', '.join(missing)}")
    return metadata


def need(module: str, extra: str):
    """Imports a runtime's module, or says how to get it.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(f"{error.name} is not installed; it comes with visionkit's extra {extra} (README.md)") from None


class Exported:
    """Stands where a Predictor expects a Task: `class_names`, `image_size`, `resize`, `channels`, `task`, `serving()`.

    Args:
        folder: the export.
        run: images float32 `[B, h, w, C]`, 0..255, brought to `image_size` -> the outputs of the Task's `serving()`.
    """

    def __init__(self, folder: Path | str, run: Callable[[np.ndarray], dict[str, np.ndarray]]):
        metadata = read_metadata(folder)
        self.class_names, self.resize, self.task = (metadata[key] for key in ("class_names", "resize", "task"))
        self.channels, self.licence = metadata["channels"], metadata["licence"]
        self.image_size = tuple(metadata["image_size"])
        self._run = run

    def serving(self) -> "Exported":
        """Itself, in the role of a Task's serving model."""
        return self

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images uint8 or float32 `[B, h, w, C]` -> outputs as arrays, those of the Task's `serving()`."""
        return self._run(np.asarray(images, np.float32))

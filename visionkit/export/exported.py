"""What travels with every export, and an export in the place of a Task.

| key of `visionkit.json` | |
|---|---|
| `visionkit`, `exporter`, `model` | version, name in `EXPORTERS`, class of the Task |
| `task` | "detect", "instance", "keypoints", "classify", "segment" or "style" |
| `class_names` | of the class ids 0..K-1; of a style network the names of its styles |
| `image_size`, `channels`, `resize` | (height, width), 3 for RGB or 1 for grey, and the rule of `resizing.fit` |
| `any_size` | whether the model itself sees portraits and squares at sizes of their own |
| `keypoint_names`, `limbs` | of a model with keypoints: their names, and the pairs that pictures join |
| `licence` | of the weights, where it is known; else "unknown" |
| `calibration` | the `ScoreCurve` that the graph applies to its scores as its last step, or null |
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import visionkit
from visionkit import limits
from visionkit.score_curve import ScoreCurve
from visionkit.skeletons import skeleton_of
from visionkit.types import DataError, Skeleton, in_words

FILE = "visionkit.json"
KEYS = ("visionkit", "exporter", "model", "task", "class_names", "image_size", "channels", "resize", "licence")


def write_metadata(model: Any, exporter: str, folder: Path | str) -> None:
    """Writes the table above about a Task into an export's folder, which is made if it is missing."""
    metadata = {
        "visionkit": visionkit.__version__,
        "exporter": exporter,
        "model": type(model).__name__,
        "task": model.task,
        "class_names": list(model.class_names),
        "image_size": list(model.image_size),
        "channels": model.channels,
        "resize": model.resize,
        "any_size": getattr(model, "any_size", False),
        "licence": model.licence,
        "calibration": model.calibration and model.calibration.to_json(),
    }
    if skeleton := getattr(model, "skeleton", None):
        metadata |= {"keypoint_names": list(skeleton.names), "limbs": [list(limb) for limb in skeleton.limbs]}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def read_metadata(folder: Path | str) -> dict[str, Any]:
    """Reads what `write_metadata` wrote.

    Raises:
        DataError: the folder does not hold an export of visionkit.
    """
    file = Path(folder) / FILE
    size = file.stat().st_size if file.is_file() else 0
    limits.check(size, limits.CONFIG, f"{file}: {size} bytes are above the limit of {{limit}}")
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder}: not a model exported by visionkit: {in_words(error)}") from None
    if missing := [key for key in KEYS if not isinstance(metadata, dict) or key not in metadata]:
        raise DataError(f"{folder}: not a model exported by visionkit: {FILE} lacks {', '.join(missing)}")
    try:
        check_image_size(metadata["image_size"])
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    return metadata


def check_image_size(size: Any) -> None:
    """Refuses what is no size of images that a model could take.

    Args:
        size: (height, width), as read from a file.

    Raises:
        DataError: it is not two whole numbers above 0, or is above `limits.NETWORK`.
    """
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise DataError(f"image_size: expected height and width in pixels, found {str(size)[:60]}")
    h, w = size
    text = f"it takes images of {str(w)[:20]} x {str(h)[:20]}, above the limit of {{limit}} pixels"
    limits.check(h * w, limits.NETWORK, text)


def _skeleton(folder: Path | str, metadata: dict[str, Any]) -> Skeleton:
    names, limbs = metadata["keypoint_names"], metadata.get("limbs", [])
    good = isinstance(names, list) and isinstance(limbs, list) and all(isinstance(name, str) for name in names)
    if not good or not all(isinstance(x, list) and len(x) == 2 and set(x) <= {*range(len(names))} for x in limbs):
        raise DataError(
            f"{folder}: {FILE}: expected keypoint_names, a list of names, and limbs, pairs of their numbers"
        )
    return skeleton_of(names, limbs)


def calibration_of(metadata: dict[str, Any], folder: Path | str) -> ScoreCurve | None:
    """The calibration that an export applies, or None.

    Raises:
        DataError: what the metadata has in its place is none.
    """
    content = metadata.get("calibration")
    try:
        return ScoreCurve.from_json(content) if content else None
    except ValueError as error:
        raise DataError(f"{folder}: {FILE}: {error}") from None


def refuse_style(task: str, model: Path | str) -> None:
    """Raises a DataError where `task` is "style": such a model paints, and does not say anything about images."""
    if task == "style":
        raise DataError(f"{model}: a style network, which paints images: use visionkit stylize PHOTOS --model RUN")


def need(module: str, extra: str) -> ModuleType:
    """Imports a runtime's module.

    Raises:
        DataError: it is not installed; says with which extra of visionkit it comes.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed; it comes with visionkit's extra {extra}: "
            f"pip install 'keras-visionkit[{extra}]'"
        ) from None


class Exported:
    """Stands where a Predictor expects a Task: `class_names`, `image_size`, `resize`, `channels`, `task`, `serving()`.

    Args:
        folder: the export.
        run: images float32 `[B, h, w, C]`, 0..255, of `image_size` -> the outputs of the Task's `serving()`.
        kept: what must live as long as `run` is called.

    Raises:
        DataError: the folder does not hold an export of visionkit, or that of a style network.
    """

    def __init__(self, folder: Path | str, run: Callable[[np.ndarray], dict[str, np.ndarray]], kept: Any = None):
        metadata = read_metadata(folder)
        self.task: str = metadata["task"]
        refuse_style(self.task, folder)
        self.class_names: list[str] = metadata["class_names"]
        self.image_size: tuple[int, int] = tuple(metadata["image_size"])
        self.channels: int = metadata["channels"]
        self.resize: str = metadata["resize"]
        self.licence: str = metadata["licence"]
        self.skeleton = _skeleton(folder, metadata) if "keypoint_names" in metadata else None
        self.runtime: str = metadata["exporter"]
        self.calibration = calibration_of(metadata, folder)
        self._run, self._kept = run, kept

    def serving(self) -> "Exported":
        """Itself, in the role of a Task's serving model."""
        return self

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images uint8 or float32 `[B, h, w, C]` -> outputs as arrays, those of the Task's `serving()`."""
        return self._run(np.asarray(images, np.float32))

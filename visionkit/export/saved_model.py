"""A detector as a TensorFlow SavedModel that takes encoded image files and needs neither visionkit nor Keras to run.

`save` writes two signatures. Both return the same outputs, B images with M rows each, padded with score 0 and label -1:

| output | |
|---|---|
| `boxes` | float32 `[B, M, 4]` x1, y1, x2, y2 in pixels of the ORIGINAL upright image, inside it |
| `scores` | float32 `[B, M]`, descending |
| `labels` | int32 `[B, M]`, class ids 0..K-1 |
| `class_names` | string `[B, M]`, the name of each label, "" for padding |
| `image_size` | int32 `[B, 2]`, (height, width) of the upright image that the boxes refer to |
| `masks` | only of models that have them: as the model gives them, float32 `[B, M, m, m]`, a grid over each box |

Names come per detection, not as one list of K, since TensorFlow Serving's row format wants the batch first in every
output and a client wants to read `{"class_names": ["cat", ...], "boxes": [[...], ...]}` without a second table. The
list of all K names stands in `assets.extra/visionkit.json` beside the image size, the preprocessing and the licence.

`serving_default` takes `image_bytes`, string `[B]`: files of any mix of sizes, decoded by `export.decode_graph`. To
TensorFlow Serving they are sent as `{"instances": [{"image_bytes": {"b64": "..."}}]}`.
`serving_images` takes `images`, float32 `[B, H, W, 3]`, RGB 0..255, upright, of any one size.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import visionkit
from visionkit.export.verify import ExportError
from visionkit.types import PADDING, DataError, Detections

METADATA = "assets.extra/visionkit.json"  # assets.extra: where TensorFlow leaves other people's files alone


def save(model, folder: Path | str) -> None:
    """Writes a detection Task as a SavedModel.

    Args:
        model: a detection Task, on the TensorFlow backend.
        folder: where to; existing files of an earlier SavedModel are overwritten.

    Raises:
        DataError: the model is no detector.
        RuntimeError: Keras runs on another backend; `export.export_model` starts a process on the right one.
    """
    import keras
    import tensorflow as tf

    from visionkit.export import decode_graph

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"a SavedModel is written on the TensorFlow backend, not on {keras.backend.backend()}")
    size, resize = tuple(model.image_size), model.resize
    serving = model.serving()
    if not isinstance(serving.output, dict) or not {"boxes", "scores", "labels"} <= set(serving.output):
        raise DataError(f"a {type(model).__name__} is no detector; this exporter writes detectors only")
    names = tf.constant(["", *model.class_names])

    def finish(fitted, original, new):
        """fitted float32 [B, h, w, 3]; original and new int32 [B, 2]: (height, width) before and after the resize."""
        found = dict(serving(fitted, training=False))
        factor = tf.cast(original, tf.float32) / tf.cast(new, tf.float32)  # [B, 2], y and x
        factor, limit = (tf.tile(yx[:, ::-1], [1, 2])[:, None] for yx in (factor, tf.cast(original, tf.float32)))
        boxes = tf.clip_by_value(found["boxes"] * factor, 0.0, limit)  # [B, M, 4]; the factor is [B, 1, 4]
        # What lay beside the image, in the letterbox's filling, has no area left: it becomes padding, at the end.
        real = (found["labels"] != PADDING) & tf.reduce_all(boxes[..., :2] < boxes[..., 2:], axis=-1)
        found |= {"boxes": tf.where(real[..., None], boxes, 0.0), "scores": tf.where(real, found["scores"], 0.0)}
        found["labels"] = tf.where(real, found["labels"], PADDING)
        order = tf.argsort(found["scores"], direction="DESCENDING", stable=True)  # [B, M]
        found = {name: tf.gather(values, order, batch_dims=1) for name, values in found.items()}
        return found | {"class_names": tf.gather(names, found["labels"] + 1), "image_size": original}

    def read(data):
        image = decode_graph.decode_image(data)
        fitted, new = decode_graph.fit(image[None], size, resize)
        return fitted[0], tf.shape(image)[:2], new

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes):
        shapes = [tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([2], tf.int32), tf.TensorSpec([2], tf.int32)]
        return finish(*tf.map_fn(read, image_bytes, fn_output_signature=tuple(shapes), parallel_iterations=4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def serving_images(images):
        fitted, new = decode_graph.fit(images, size, resize)
        count, original = tf.shape(images)[0], tf.shape(images)[1:3]
        return finish(fitted, tf.tile(original[None], [count, 1]), tf.tile(new[None], [count, 1]))

    module = tf.Module()
    module.weights = [variable.value for variable in serving.variables]  # TensorFlow saves what it can reach
    signatures = {"serving_default": serving_default, "serving_images": serving_images}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    metadata = {
        "visionkit": visionkit.__version__,
        "model": type(model).__name__,
        "class_names": list(model.class_names),
        "image_size": size,
        "resize": resize,
        "licence": getattr(model, "licence", None),
    }
    file = Path(folder) / METADATA
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def read_metadata(folder: Path | str) -> dict:
    """What `save` wrote about the model: visionkit, model, class_names, image_size (height, width), resize, licence.

    Raises:
        DataError: the folder is no SavedModel that visionkit exported.
    """
    file = Path(folder) / METADATA
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: not a SavedModel exported by visionkit: {error}") from None


def load(folder: Path | str) -> "ExportedDetector":
    """Loads an exported SavedModel without building its Keras model: `Predictor(load(folder))(files)`.

    Raises:
        DataError: the folder is no SavedModel that visionkit exported, or a broken one.
    """
    return ExportedDetector(folder)


class ExportedDetector:
    """Stands where a Predictor expects a Task: `class_names`, `image_size`, `resize`, `serving()`, `licence`."""

    def __init__(self, folder: Path | str):
        metadata = read_metadata(folder)
        self.class_names, self.resize = metadata["class_names"], metadata["resize"]
        self.image_size, self.licence = tuple(metadata["image_size"]), metadata["licence"]

        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(folder))  # kept: the signatures die with it
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise DataError(f"{folder}: broken SavedModel: {error}") from None
        self._images = self._loaded.signatures["serving_images"]
        self._bytes = self._loaded.signatures["serving_default"]

    def serving(self) -> "ExportedDetector":
        """Itself, in the role of a Task's serving model."""
        return self

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images uint8 or float32 `[B, h, w, 3]`, RGB 0..255 -> the outputs of `serving_images`, as arrays."""
        outputs = self._images(images=np.asarray(images, np.float32))
        return {name: value.numpy() for name, value in outputs.items()}

    def predict_bytes(self, files: list[bytes]) -> dict[str, np.ndarray]:
        """Encoded image files -> the outputs of `serving_default`, as arrays."""
        import tensorflow as tf

        outputs = self._bytes(image_bytes=tf.constant(files, tf.string))
        return {name: value.numpy() for name, value in outputs.items()}


def detect_alone(folder: Path | str, files: Sequence[Path]) -> list[Detections | str]:
    """What a SavedModel finds in image files, in a fresh process that imports TensorFlow but not visionkit.

    Returns:
        For each file its Detections in original pixels, or the graph's error.

    Raises:
        ExportError: the process failed.
    """
    script = Path(__file__).with_name("run_saved_model.py")
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "outputs.npz"
        # -E and -P: neither PYTHONPATH nor the script's folder may put visionkit within reach
        command = [sys.executable, "-E", "-P", str(script), str(Path(folder).absolute()), str(output)]
        listed = json.dumps([str(Path(file).absolute()) for file in files])
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run(command, input=listed, capture_output=True, text=True, cwd=temporary, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise ExportError(f"{folder}: does not run in a fresh process: {lines[-1].strip()}")
        with np.load(output) as arrays:
            return [_detections(arrays, i, file) for i, file in enumerate(files)]


def _detections(arrays, i: int, file: Path) -> Detections | str:
    if f"error_{i}" in arrays:
        return " ".join(str(arrays[f"error_{i}"]).split())
    boxes, scores, labels, size = (arrays[f"{name}_{i}"] for name in ("boxes", "scores", "labels", "image_size"))
    real = labels != PADDING
    return Detections(
        id=str(file),
        file=file,
        image_size=tuple(size.tolist()),
        boxes=boxes[real],
        scores=scores[real],
        labels=labels[real],
    )

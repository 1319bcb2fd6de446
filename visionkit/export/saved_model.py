"""A model as a TensorFlow SavedModel that takes encoded image files and needs neither visionkit nor Keras to run.

`save` writes three signatures. Two answer for the ORIGINAL upright image. B images of a detector have M rows each,
padded with score 0 and label -1:

| output | of | |
|---|---|---|
| `boxes` | detectors | float32 `[B, M, 4]` x1, y1, x2, y2 in pixels of the original, inside it |
| `scores` | detectors | float32 `[B, M]`, descending |
| `labels` | detectors | int32 `[B, M]`, class ids 0..K-1 |
| `class_names` | detectors | string `[B, M]`, the name of each label, "" for padding |
| `masks` | detectors that have them | float32 `[B, M, m, m]`, probabilities on a grid over each of `mask_boxes` |
| `mask_boxes` | the same | float32 `[B, M, 4]`, the boxes as the model gave them: they may reach beyond the image |
| `scores` | classifiers | float32 `[B, K]`, probabilities in the order of the class ids |
| `label`, `class_name` | classifiers | int32 and string `[B]`, the best class |
| `segmentation` | segmenters | int32 `[B, H, W]`, class ids; 255 beside images smaller than the batch's largest |
| `image_size` | all | int32 `[B, 2]`, (height, width) of the upright image |

Names come per detection, not as one list of K, since TensorFlow Serving's row format wants the batch first in every
output and a client wants to read `{"class_names": ["cat", ...], "boxes": [[...], ...]}` without a second table. The
list of all K names stands in `visionkit.json` beside the image size, the preprocessing and the licence.

`serving_default` takes `image_bytes`, string `[B]`: files of any mix of sizes, decoded by `export.decode_graph`. To
TensorFlow Serving they are sent as `{"instances": [{"image_bytes": {"b64": "..."}}]}`.
`serving_images` takes `images`, float32 `[B, H, W, 3]`, RGB 0..255, upright, of any one size.
`serving_network` is what a Predictor runs: `images`, float32 `[B, h, w, C]`, already as the network takes them, and
the outputs of the Task's `serving()`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.export.exported import Exported, write_metadata
from visionkit.export.verify import ExportError
from visionkit.predict.masks import paste_masks
from visionkit.predict.predictor import Prediction
from visionkit.types import PADDING, Classification, DataError, Detections, SegmentationMap

NAME = "saved_model"


def save(model, folder: Path | str) -> None:
    """Writes a Task as a SavedModel.

    Args:
        model: a Task, on the TensorFlow backend.
        folder: where to; existing files of an earlier SavedModel are overwritten.

    Raises:
        DataError: the model gives what no answer is known for, or crops what it is to find boxes in.
        RuntimeError: Keras runs on another backend; `export.export_model` starts a process on the right one.
    """
    import keras
    import tensorflow as tf

    from visionkit.export import decode_graph
    from visionkit.export.answer_graph import ANSWERS

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"a SavedModel is written on the TensorFlow backend, not on {keras.backend.backend()}")
    size, resize, channels = tuple(model.image_size), model.resize, model.channels
    serving = model.serving()
    kind = next((name for name in ANSWERS if name in serving.output), None)
    if kind is None:
        raise DataError(f"a {type(model).__name__} gives {sorted(serving.output)}: no form of a SavedModel for that")
    names = tf.constant(model.class_names)

    def answer(fitted, original, new):
        """fitted float32 [B, h, w, 3]; original and new int32 [B, 2]: (height, width) before and after the resize."""
        found = dict(serving(decode_graph.to_channels(fitted, channels), training=False))
        return ANSWERS[kind](found, original, new, names)

    def read(data):
        image = decode_graph.decode_image(data)
        fitted, new = decode_graph.fit(image[None], size, resize)
        return fitted[0], tf.shape(image)[:2], new

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes):
        shapes = [tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([2], tf.int32), tf.TensorSpec([2], tf.int32)]
        return answer(*tf.map_fn(read, image_bytes, fn_output_signature=tuple(shapes), parallel_iterations=4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def serving_images(images):
        fitted, new = decode_graph.fit(images, size, resize)
        count, original = tf.shape(images)[0], tf.shape(images)[1:3]
        return answer(fitted, tf.tile(original[None], [count, 1]), tf.tile(new[None], [count, 1]))

    signatures = {
        "serving_default": serving_default,
        "serving_images": serving_images,
        "serving_network": network_function(serving),
    }
    write_functions(signatures, serving, folder)
    write_metadata(model, NAME, folder)


def network_function(serving, batch: int | None = None):
    """A tf.function of a functional model that gives a dict: `images` float32 `[batch, h, w, C]` -> that dict."""
    import tensorflow as tf

    spec = tf.TensorSpec([batch, *serving.input.shape[1:]], tf.float32, name="images")
    return tf.function(lambda images: dict(serving(images, training=False)), input_signature=[spec])


def write_functions(functions: dict, model, folder: Path | str) -> None:
    """Writes tf.functions, by the names of their signatures, as a SavedModel; `model` holds their weights."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]  # TensorFlow saves what it can reach
    tf.saved_model.save(module, str(folder), signatures=functions)


def load(folder: Path | str) -> "ExportedSavedModel":
    """Loads an exported SavedModel without building its Keras model: `Predictor(load(folder))(files)`.

    Raises:
        DataError: the folder is no SavedModel that visionkit exported, or a broken one.
    """
    return ExportedSavedModel(folder)


class ExportedSavedModel(Exported):
    """An `Exported` that also takes what its clients send."""

    def __init__(self, folder: Path | str):
        super().__init__(folder, self._network)

        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(folder))  # kept: the signatures die with it
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise DataError(f"{folder}: broken SavedModel: {error}") from None

    def predict_images(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images uint8 or float32 `[B, H, W, 3]`, RGB 0..255 -> the outputs of `serving_images`, as arrays."""
        return self._call("serving_images", images=np.asarray(images, np.float32))

    def predict_bytes(self, files: list[bytes]) -> dict[str, np.ndarray]:
        """Encoded image files -> the outputs of `serving_default`, as arrays."""
        return self._call("serving_default", image_bytes=np.array(files, object))

    def _network(self, images):
        return self._call("serving_network", images=images)

    def _call(self, signature, **inputs):
        import tensorflow as tf

        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._loaded.signatures[signature](**inputs).items()}


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Prediction | str]:
    """What a SavedModel says of image files, in a fresh process that imports TensorFlow but not visionkit.

    Returns:
        For each file its Detections in original pixels, its Classification or its SegmentationMap; or an error.

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
            return [_prediction(arrays, i, file) for i, file in enumerate(files)]


def _prediction(arrays, i: int, file: Path) -> Prediction | str:
    if f"error_{i}" in arrays:
        return " ".join(str(arrays[f"error_{i}"]).split())
    same = {"id": str(file), "file": file, "image_size": tuple(arrays[f"image_size_{i}"].tolist())}
    if f"segmentation_{i}" in arrays:
        h, w = same["image_size"]
        return SegmentationMap(segmentation=arrays[f"segmentation_{i}"][:h, :w], **same)
    scores = arrays[f"scores_{i}"]
    if f"boxes_{i}" not in arrays:
        return Classification(scores=scores, **same)
    boxes, labels = arrays[f"boxes_{i}"], arrays[f"labels_{i}"]
    real = labels != PADDING
    if f"masks_{i}" in arrays:
        grids, spread = arrays[f"masks_{i}"][real], arrays[f"mask_boxes_{i}"][real]
        same["masks"] = paste_masks(grids, spread, same["image_size"])
    return Detections(boxes=boxes[real], scores=scores[real], labels=labels[real], **same)

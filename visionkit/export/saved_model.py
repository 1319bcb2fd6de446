"""A model as a TensorFlow SavedModel that takes encoded image files and needs neither visionkit nor Keras to run.

`serving_default` takes `image_bytes`, string `[B]`: files of any mix of sizes, decoded by `export.decode_graph`. In
TensorFlow Serving's JSON they are `{"instances": [{"image_bytes": {"b64": "..."}}]}`. It answers for the ORIGINAL
upright image. A detector gives M rows for each of the B images, padded with score 0 and label -1:

| output | of | |
|---|---|---|
| `boxes` | detectors | float32 `[B, M, 4]` x1, y1, x2, y2 in pixels of the original, inside it |
| `scores` | detectors | float32 `[B, M]`, descending |
| `labels` | detectors | int32 `[B, M]`, class ids 0..K-1 |
| `class_names` | detectors | string `[B, M]`, the name of each label, "" for padding |
| `masks` | detectors that have them | float32 `[B, M, m, m]`, probabilities on a grid over each of `mask_boxes` |
| `mask_boxes` | the same | float32 `[B, M, 4]`, the boxes as the model gave them: they may reach beyond the image |
| `heatmaps` | detectors with keypoints | float32 `[B, M, m, m, P]`, logits on a grid over each of `heatmap_boxes` |
| `heatmap_boxes` | the same | float32 `[B, M, 4]`, the boxes in pixels of the network's input |
| `heatmap_scale` | the same | float32 `[B, 2]`, by which x and y there become pixels of the original |
| `scores` | classifiers | float32 `[B, K]`, probabilities in the order of the class ids |
| `label`, `class_name` | classifiers | int32 and string `[B]`, the best class |
| `segmentation` | segmenters | int32 `[B, H, W]`, class ids; 255 beside images smaller than the batch's largest |
| `png` | style networks | string `[B]`, a PNG file of the original's size |
| `image_size` | all but style networks | int32 `[B, 2]`, (height, width) of the upright image |

Names come with each detection, not as one list of K, because TensorFlow Serving's row format wants the batch first in
every output, and a client wants to read `{"class_names": ["cat", ...], "boxes": [[...], ...]}` without a second table.
The list of all K names is in `visionkit.json`, beside the image size, the preprocessing and the licence.

A style network with K > 1 styles takes `shares` besides, float32 `[B, K]`, each row summing to 1, in the order of the
names in `visionkit.json`. It refuses images above `painter.MAX_PIXELS` pixels. All other models have two more
signatures:

`serving_images` takes `images`, float32 `[B, H, W, 3]`, RGB 0..255, upright, all of one size, and gives the same.
`serving_network` is what a Predictor runs: `images`, float32 `[B, h, w, C]`, as the network takes them, and the outputs
of the Task's `serving()`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.export.answers import Answer, read_answers
from visionkit.export.exported import Exported, write_metadata
from visionkit.export.graph_scan import check_graph
from visionkit.export.verify import ExportError
from visionkit.processes import run_python
from visionkit.types import DataError

NAME = "saved_model"
paints = True


def save(model: Any, folder: Path | str) -> None:
    """Writes a Task as a SavedModel.

    Args:
        model: a Task, on the TensorFlow backend.
        folder: where to; the files of an earlier SavedModel are overwritten.

    Raises:
        DataError: there is no answer for what the model gives.
        RuntimeError: Keras runs on another backend; `export.export_model` starts a process on the right one.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"a SavedModel is written on the TensorFlow backend, not on {keras.backend.backend()}")
    network = model.serving()
    save_module(folder, network.variables, _signatures(model, network))
    write_metadata(model, NAME, folder)


def _signatures(model, network) -> dict[str, Any]:
    if model.task == "style":
        from visionkit.export.painting_graph import painting_signatures

        return painting_signatures(network, model.num_classes)
    from visionkit.export.answer_graph import ANSWERS, answering_signatures

    kinds = [kind for kind in ANSWERS if kind in network.output]
    if not kinds:
        raise DataError(f"a {type(model).__name__} gives {sorted(network.output)}: no SavedModel can answer with that")
    answer, size = ANSWERS[kinds[0]], tuple(model.image_size)
    signatures = answering_signatures(network, answer, model.class_names, size, model.resize, model.channels)
    return signatures | {"serving_network": network_function(network)}


def save_module(folder: Path | str, variables: Sequence[Any], signatures: dict[str, Any]) -> None:
    """Writes tf.functions, by name, and the Keras variables that they use as a SavedModel."""
    import tensorflow as tf

    module: Any = tf.Module()
    module.weights = [variable.value for variable in variables]  # TensorFlow saves what it can reach from the module
    tf.saved_model.save(module, str(folder), signatures=signatures)


def network_function(network: Any, batch: int | None = None) -> Any:
    """A tf.function of a functional model that gives a dict: `images` float32 `[batch, h, w, C]` -> that dict."""
    import tensorflow as tf

    spec = tf.TensorSpec([batch, *network.input.shape[1:]], tf.float32, name="images")
    return tf.function(lambda images: dict(network(images, training=False)), input_signature=[spec])


def load(folder: Path | str, trust: bool = False) -> "ExportedSavedModel":
    """Loads an exported SavedModel without building its Keras model: `Predictor(load(folder))(files)`.

    Args:
        folder: the export.
        trust: load it even if it does more than compute, see `export.graph_scan`; it could then read and write files.

    Raises:
        DataError: the folder is not a SavedModel that visionkit exported, or a broken one, or a style network's, or one
            that does more than compute.
    """
    return ExportedSavedModel(folder, trust)


class ExportedSavedModel(Exported):
    """An `Exported` that also takes what its clients send."""

    def __init__(self, folder: Path | str, trust: bool = False):
        super().__init__(folder, self._network)
        if not trust:
            check_graph(folder)

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

        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._loaded.signatures[signature](**tensors).items()}


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Answer | str]:
    """Runs a SavedModel on image files in a fresh process that imports TensorFlow but not visionkit.

    Returns:
        For each file its Detections in pixels of the original, its Classification, its SegmentationMap or its Painting;
        or what was wrong with the image.

    Raises:
        ExportError: the process failed.
    """
    script = Path(__file__).with_name("run_saved_model.py")
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "outputs.npz"
        # -E and -P: neither PYTHONPATH nor the script's folder may put visionkit within reach.
        arguments = ["-E", "-P", str(script), str(Path(folder).absolute()), str(output)]
        job = [Path(file).absolute() for file in files]
        ended = run_python(arguments, job, {"TF_CPP_MIN_LOG_LEVEL": "2"}, temporary)
        if ended.failure:
            raise ExportError(f"{folder}: does not run in a fresh process: {ended.failure}")
        return read_answers(output, files)

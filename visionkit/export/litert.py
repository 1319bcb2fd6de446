"""A model as `model.tflite`, for LiteRT (TensorFlow Lite) on phones and small machines: one image a call.

| exporter | weights | computes in | files |
|---|---|---|---|
| `litert` | float32 | float32 | `model.tflite`: all of `serving()`, suppression included |
| `litert_float16` | float16 | float32 | the same |
| `litert_int8` | int8 | int8 | `model.tflite`: up to the raw outputs; `decode.tflite`: from there on, float32 |

Eight bits are too few for coordinates and for the overlaps that suppression compares, so a second file in float32 takes
the outputs of the first, by name. Its anchors and weights have 16 bits, which moves a box by at most an eighth of a
pixel in images of up to 512 pixels. The second stage of a two-stage detector, whose boxes come from the first, is in it
too. Inputs and outputs of both files are always float32: `images` `[1, h, w, C]`, as the network takes them.
"""

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit import images, resizing
from visionkit.environment import quiet_stderr
from visionkit.export.alone import predict_alone
from visionkit.export.exported import Exported, need, write_metadata
from visionkit.export.saved_model import network_function, save_module
from visionkit.types import DataError

FILES = ("model.tflite", "decode.tflite")


class LiteRT:
    """An exporter in one of the precisions above.

    Args:
        name: in `EXPORTERS`.
        precision: "float32", "float16" or "int8".
    """

    packages = ("ai-edge-litert",)
    predict_alone = staticmethod(predict_alone)

    def __init__(self, name: str, precision: str):
        self.name, self.precision = name, precision
        self.calibrates = precision == "int8"

    def save(self, model: Any, folder: Path | str, calibration: Sequence[Path] = ()) -> None:
        """Writes the files above.

        Args:
            model: a Task.
            folder: where to.
            calibration: for int8, images like those to come, from which the range of every tensor is learned.
        """
        write_metadata(model, self.name, folder)
        network_file, decoder_file = (Path(folder) / name for name in FILES)
        serving = model.serving()
        if self.precision != "int8":
            function = network_function(serving, batch=1)
            network_file.write_bytes(_convert(function, serving, self.precision))
            return
        if not calibration:
            raise DataError(f"{self.name} needs images to calibrate on: name a folder of them with --calibrate")
        network, decoder, names = _halves(model, serving)
        shown = [_as_input(model, file) for file in calibration]
        network_file.write_bytes(_convert(network_function(network, batch=1), network, "int8", shown))
        decoder_file.write_bytes(_convert(_decoder_function(decoder, names), decoder, "float16"))

    def load(self, folder: Path | str) -> Exported:
        """Loads the export for a Predictor, on all cores.

        Raises:
            DataError: there is no such export, it is broken, or LiteRT is not installed.
        """
        with quiet_stderr():  # LiteRT prints which kernels it chose
            interpreter: Any = need("ai_edge_litert.interpreter", "litert")
            files = [file for file in (Path(folder) / name for name in FILES) if file.is_file()]
            try:
                parts = [interpreter.Interpreter(str(file), num_threads=os.cpu_count()) for file in files]
                for part in parts:
                    part.allocate_tensors()
                runners = [part.get_signature_runner() for part in parts]
            except (ValueError, RuntimeError) as error:
                raise DataError(f"{folder}: cannot be loaded: {error}") from None
        if not runners:
            raise DataError(f"{folder}: holds no {FILES[0]}")

        def run(batch):
            rows = []
            for i in range(len(batch)):
                row = {"images": batch[i : i + 1]}
                for runner in runners:
                    row = runner(**row)
                rows.append({name: value.copy() for name, value in row.items()})  # the runner overwrites its own
            return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

        return Exported(folder, run, kept=parts)  # the runners die with the interpreters


def _as_input(model, file):
    """An image file as the network takes it: float32 `[1, h, w, C]`."""
    pixels, _ = resizing.fit(images.read_image(file), tuple(model.image_size), model.resize)
    return resizing.to_channels(pixels, model.channels)[None].astype(np.float32)


def _halves(model, serving):
    """Cuts `serving` in two where it calls the Task.

    Returns:
        A model from images to the Task's own outputs; a model from those, in the order of the names, to the outputs of
        `serving`; and the names. Outputs that only training uses, "aux...", are left out.
    """
    import keras

    called: list[dict[str, Any]] = []  # the outputs of the Task, noted while the graph of `serving` is built once more

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if layer is model:
            called.append(outputs)
        return outputs

    again = keras.models.clone_model(serving, clone_function=lambda layer: layer, call_function=call)
    (raw,) = called
    names = [name for name in model.output if not name.startswith("aux")]
    network = keras.Model(model.input, {name: model.output[name] for name in names})
    return network, keras.Model([raw[name] for name in names], again.output), names


def _decoder_function(decoder, names):
    import tensorflow as tf

    shapes = [tensor.shape for tensor in decoder.inputs]
    specs = {}
    for name, shape in zip(names, shapes, strict=True):
        specs[name] = tf.TensorSpec([1, *shape[1:]], tf.float32, name=name)
    function = tf.function(lambda **raw: dict(decoder([raw[name] for name in names], training=False)))
    return function.get_concrete_function(**specs)


def _convert(function, model, precision, shown=()):
    """The bytes of a .tflite file of a tf.function.

    Args:
        function: the function.
        model: holds its weights.
        precision: of the file.
        shown: for int8, inputs to calibrate on.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as temporary:
        save_module(temporary, model.variables, {"serving_default": function})
        converter = tf.lite.TFLiteConverter.from_saved_model(temporary)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        elif precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ({"images": image} for image in shown)
            # Operations without an int8 kernel stay in float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        with warnings.catch_warnings():  # the converter calibrates with an interpreter that it deprecates itself
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            return converter.convert()

"""A model as `model.tflite`, for LiteRT (TensorFlow Lite) on phones and small machines: one image a call.

| exporter | weights | computes in | files |
|---|---|---|---|
| `litert` | float32 | float32 | `model.tflite`: all of `serving()`, suppression included |
| `litert_float16` | float16 | float32 | the same |
| `litert_int8` | int8 | int8 | `model.tflite`: up to the raw outputs; `decode.tflite`: from there on, float32 |

Eight bits are too few for pixels and for what suppression compares, so the second file takes what the first gives, by
name; its anchors and weights have 16 bits, which moves a box by an eighth of a pixel at most up to 512 pixels. Of a
two-stage detector the second stage, whose boxes come from the first, is in it too. What goes into and comes out of a
file is float32 always: `images` `[1, h, w, C]`, as the network takes them.
"""

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit import images, resizing
from visionkit.environment import quiet_stderr
from visionkit.export.alone import predict_alone
from visionkit.export.exported import Exported, need, write_metadata
from visionkit.export.saved_model import network_function, save_module
from visionkit.types import DataError

FILES = ("model.tflite", "decode.tflite")


class LiteRT:
    """The exporter to one of the precisions above: `LiteRT("litert_int8", "int8")`."""

    packages = ("ai-edge-litert",)
    predict_alone = staticmethod(predict_alone)

    def __init__(self, name: str, precision: str):
        self.name, self.precision = name, precision
        self.calibrates = precision == "int8"

    def save(self, model, folder: Path | str, calibration: Sequence[Path] = ()) -> None:
        """Writes the files above.

        Args:
            calibration: for int8, images like those to come: from them it learns the range of every tensor.
        """
        write_metadata(model, self.name, folder)
        serving, folder = model.serving(), Path(folder)
        if self.precision != "int8":
            function = network_function(serving, batch=1)
            (folder / FILES[0]).write_bytes(_convert(function, serving, self.precision))
            return
        if not calibration:
            raise DataError(f"{self.name} needs images to calibrate on: name a folder of them with --calibrate")
        network, decoder, names = _halves(model, serving)
        shown = [_as_input(model, file) for file in calibration]
        (folder / FILES[0]).write_bytes(_convert(network_function(network, batch=1), network, "int8", shown))
        (folder / FILES[1]).write_bytes(_convert(_decoder_function(decoder, names), decoder, "float16"))

    def load(self, folder: Path | str) -> Exported:
        """The export for a Predictor, on all cores.

        Raises:
            DataError: no such export, a broken one, or LiteRT is not installed.
        """
        with quiet_stderr():  # it tells which kernels it chose
            interpreter = need("ai_edge_litert.interpreter", "litert")
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
                rows.append({name: value.copy() for name, value in row.items()})  # theirs are written over
            return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

        return Exported(folder, run, kept=parts)  # the runners die with the interpreters


def _as_input(model, file):
    """A file as the network takes it: float32 `[1, h, w, C]`."""
    pixels, _ = resizing.fit(images.read_image(file), tuple(model.image_size), model.resize)
    return resizing.to_channels(pixels, model.channels)[None].astype(np.float32)


def _halves(model, serving):
    """`serving` in two: images -> what the Task's own graph gives; that, in the order of the names -> its outputs.

    Outputs that only training uses, "aux...", are left out. Returns the two models and the names.
    """
    import keras

    called = []  # what the Task gave where serving() called it: seen as the graph is walked through once more

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
    specs = {n: tf.TensorSpec([1, *shape[1:]], tf.float32, name=n) for n, shape in zip(names, shapes, strict=True)}
    function = tf.function(lambda **raw: dict(decoder([raw[name] for name in names], training=False)))
    return function.get_concrete_function(**specs)


def _convert(function, model, precision, shown=()):
    """The bytes of a .tflite file of a tf.function whose weights `model` holds."""
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
            # What has no int8 kernel stays float32.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        with warnings.catch_warnings():  # the converter's own: it calibrates with the interpreter that it deprecates
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
            return converter.convert()

"""A model as `model.onnx`: for ONNX Runtime and everything else that reads ONNX, with any number of images a call.

The graph is that of `serving()`, suppression included: `images` float32 `[B, h, w, C]`, channels last, as the network
takes them, to the outputs by name. `visionkit.json` beside it says how an image is brought to that form.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visionkit.export.alone import predict_alone
from visionkit.export.exported import Exported, need, write_metadata
from visionkit.export.saved_model import network_function
from visionkit.types import DataError

__all__ = ["load", "packages", "predict_alone", "save"]

NAME = "model.onnx"
OPSET = 18
packages = ("onnx", "onnxruntime", "tf2onnx")


def save(model: Any, folder: Path | str) -> None:
    """Writes `folder/model.onnx`.

    Raises:
        DataError: tf2onnx is not installed.
    """
    tf2onnx = need("tf2onnx", "onnx")
    write_metadata(model, "onnx", folder)
    function = network_function(model.serving())
    file = str(Path(folder) / NAME)
    with _scalars_added_as_arrays():
        tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET, output_path=file)


@contextmanager
def _scalars_added_as_arrays() -> Iterator[None]:
    """Mends a fault of tf2onnx 1.17 while it converts.

    If a scalar is added to a convolution, as in hard swish, it fails to remove the transposes around all convolutions
    and logs a traceback. To an addition, an array of one element is the same.
    """
    from tf2onnx import utils
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    optimizer: Any = TransposeOptimizer
    original = optimizer._add_handler

    def add_handler(self: Any, transpose: Any, node: Any) -> bool:
        addend = node.inputs[1]
        if addend.is_const() and (value := addend.get_tensor_value(as_list=False)).ndim == 0:
            array = self._g.make_const(utils.make_name("addend"), value.reshape(1))
            self._g.replace_input(node, node.input[1], array.output[0], 1)
        return original(self, transpose, node)

    optimizer._add_handler = add_handler
    try:
        yield
    finally:
        optimizer._add_handler = original


def load(folder: Path | str) -> Exported:
    """Loads the export for a Predictor, on the CPU.

    Raises:
        DataError: there is no such export, it is broken, or ONNX Runtime is not installed.
    """
    onnxruntime: Any = need("onnxruntime", "onnx")
    file = Path(folder) / NAME
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; its remarks on its own optimisations help nobody
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # this is the only class that its exceptions share
        raise DataError(f"{file}: cannot be loaded: {error}") from None
    names = [output.name for output in session.get_outputs()]
    return Exported(folder, lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True)))

"""A model as `model.onnx`: for ONNX Runtime and all that reads ONNX, with any number of images a call.

The graph is that of `serving()`, suppression included: `images` float32 `[B, h, w, C]`, channels last, as the network
takes them, to the outputs by name. `visionkit.json` beside it says how an image becomes one of those.
"""

from pathlib import Path

from visionkit.export.alone import predict_alone
from visionkit.export.exported import Exported, need, write_metadata
from visionkit.export.saved_model import network_function
from visionkit.types import DataError

__all__ = ["load", "packages", "predict_alone", "save"]

NAME = "model.onnx"
OPSET = 18
packages = ("onnx", "onnxruntime", "tf2onnx")


def save(model, folder: Path | str) -> None:
    """Writes `folder/model.onnx`.

    Raises:
        DataError: tf2onnx is not installed.
    """
    tf2onnx = need("tf2onnx", "onnx")
    write_metadata(model, "onnx", folder)
    function = network_function(model.serving())
    file = str(Path(folder) / NAME)
    tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET, output_path=file)


def load(folder: Path | str) -> Exported:
    """The export for a Predictor, on the CPU.

    Raises:
        DataError: no such export, a broken one, or ONNX Runtime is not installed.
    """
    onnxruntime, file = need("onnxruntime", "onnx"), Path(folder) / NAME
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what it says of its own optimisations helps nobody
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class but this one
        raise DataError(f"{file}: cannot be loaded: {error}") from None
    names = [output.name for output in session.get_outputs()]
    return Exported(folder, lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True)))

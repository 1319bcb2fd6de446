"""Exporters: each writes a trained model in a form in which it is deployed, and proves that it gives the same answers.

    >>> from visionkit.export import EXPORTERS
    >>> list(EXPORTERS)
    ['keras_file', 'saved_model', 'onnx', 'openvino', 'openvino_bf16', 'litert', 'litert_float16', 'litert_int8']

The package can be called: `vk.export(model, to, out)` is `visionkit.export.export_model.export_model`. Importing it
imports no framework and no runtime.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from visionkit.callable_package import stands_for
from visionkit.export import keras_file, onnx, saved_model
from visionkit.export.answers import Answer
from visionkit.export.litert import LiteRT
from visionkit.export.openvino import OpenVINO


class Exporter(Protocol):
    """A module or an object with these three functions. It may have four attributes besides.

    `precision` is the row of `compare.TOLERANCES` that it is held to (by default float32). `calibrates` says that
    `save` needs `calibration`, a list of image files. `paints` says that `save` takes style networks. `packages` are
    those whose versions belong into the report.
    """

    def save(self, model: Any, folder: Path | str) -> None:
        """Writes a Task."""
        ...

    def load(self, folder: Path | str) -> Any:
        """What a Predictor takes in place of a Task."""
        ...

    def predict_alone(self, folder: Path | str, files: Sequence[Path]) -> list[Answer | str]:
        """What the written files say of images: for each its answer, or what was wrong with it."""
        ...


EXPORTERS: dict[str, Exporter] = {
    "keras_file": keras_file,
    "saved_model": saved_model,
    "onnx": onnx,
    "openvino": OpenVINO("openvino", "float32"),
    "openvino_bf16": OpenVINO("openvino_bf16", "bfloat16"),
    "litert": LiteRT("litert", "float32"),
    "litert_float16": LiteRT("litert_float16", "float16"),
    "litert_int8": LiteRT("litert_int8", "int8"),
}

stands_for(__name__, "visionkit.export.export_model", "export_model")

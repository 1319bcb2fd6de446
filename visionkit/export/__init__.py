"""Exporters: a trained model in the form in which it is deployed, proven to say the same.

    >>> from visionkit.export import EXPORTERS
    >>> list(EXPORTERS)
    ['keras_file', 'saved_model', 'onnx', 'openvino', 'openvino_bf16', 'litert', 'litert_float16', 'litert_int8']

An exporter is a module or object with `save(model, folder)`, `load(folder)` -> what a Predictor takes in place of a
Task, and `predict_alone(folder, files)` -> what the written files say of images. Optional: `precision`, the row of
`compare.TOLERANCES` (float32); `calibrates`, whether `save` takes `calibration`, a list of image files; `packages`,
whose versions belong into the report. Importing this package imports no framework and no runtime.
"""

from visionkit.export import keras_file, onnx, saved_model
from visionkit.export.litert import LiteRT
from visionkit.export.openvino import OpenVINO

EXPORTERS = {
    "keras_file": keras_file,
    "saved_model": saved_model,
    "onnx": onnx,
    "openvino": OpenVINO("openvino", "float32"),
    "openvino_bf16": OpenVINO("openvino_bf16", "bfloat16"),
    "litert": LiteRT("litert", "float32"),
    "litert_float16": LiteRT("litert_float16", "float16"),
    "litert_int8": LiteRT("litert_int8", "int8"),
}

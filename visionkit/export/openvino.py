"""A model as OpenVINO's `model.xml` and `model.bin`: fast on processors from Intel and on others that it supports.

| exporter | weights | computes in |
|---|---|---|
| `openvino` | float32 | float32, also on processors that have shorter numbers |
| `openvino_bf16` | float16 | bfloat16 in convolutions, products and what lies between them |

The graph is that of `serving()`, suppression included: `images` float32 `[B, h, w, C]`, channels last, as the network
takes them, to the outputs by name. `visionkit.json` beside it says how an image is brought to that form.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.export.alone import predict_alone
from visionkit.export.exported import Exported, need, read_metadata, write_metadata
from visionkit.export.saved_model import network_function, save_module
from visionkit.types import DataError

NAME = "model.xml"
# These run image by image in a network of fixed size, where OpenVINO's buffers take turns: 0.6 GB in place of 1.5 for
# an image, and no more for eight, which did not fit into 8.
ONE_BY_ONE = ("FasterRCNN", "MaskRCNN", "KeypointRCNN")
HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINO:
    """An exporter in one of the precisions above.

    Args:
        name: in `EXPORTERS`.
        precision: "float32" or "bfloat16".
    """

    packages = ("openvino",)
    predict_alone = staticmethod(predict_alone)

    def __init__(self, name: str, precision: str):
        self.name, self.precision = name, precision

    def save(self, model: Any, folder: Path | str) -> None:
        """Writes `folder/model.xml` and `folder/model.bin`.

        Raises:
            DataError: OpenVINO is not installed.
        """
        openvino = _openvino()
        write_metadata(model, self.name, folder)
        serving = model.serving()
        # From a SavedModel, because OpenVINO 2026.4 cannot take a function in memory on Python 3.13.
        with tempfile.TemporaryDirectory() as temporary:
            save_module(temporary, serving.variables, {"serving_default": network_function(serving)})
            converted = openvino.convert_model(temporary)
            for node in converted.get_ops():
                # Keeping the order of equal scores is a bubble sort: 4000 of 41,000 take 10 s, a few ms without it.
                if node.get_type_name() == "TopK":
                    node.set_attribute("stable", False)
            openvino.save_model(converted, str(Path(folder) / NAME), compress_to_fp16=self.precision != "float32")

    def load(self, folder: Path | str) -> Exported:
        """Loads the export for a Predictor, on the CPU.

        Raises:
            DataError: there is no such export, it is broken, or OpenVINO is not installed.
        """
        core, metadata = _core(), read_metadata(folder)
        file, one_by_one = Path(folder) / NAME, metadata["model"] in ONE_BY_ONE
        try:
            network = core.read_model(str(file))
            if one_by_one:
                network.reshape([1, *metadata["image_size"], metadata["channels"]])
            compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[self.precision]})
        except RuntimeError as error:
            raise DataError(f"{file}: cannot be loaded: {str(error).splitlines()[-1]}") from None

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            return {port.any_name: value for port, value in compiled(images).items()}

        return Exported(folder, (lambda images: _each(run, images)) if one_by_one else run)


def _each(run: Callable[[np.ndarray], dict[str, np.ndarray]], images: np.ndarray) -> dict[str, np.ndarray]:
    """What `run` gives for images one at a time."""
    rows = [run(images[i : i + 1]) for i in range(len(images))]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16 itself, which is what makes it fast.

    Raises:
        DataError: OpenVINO is not installed.
    """
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _core() -> Any:
    """OpenVINO's devices, held until the process ends.

    Its CPU plugin gives the thread that loads it another stack to handle signals on. If another thread drops the
    plugin, as happens to a server's model, that stack is freed but stays in use, and the next signal (a Ctrl-C) ends
    the process without a word.
    """
    return _openvino().Core()


def _openvino() -> Any:
    """The package, without the usage data that it would send to its makers when it is imported."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # Python takes it as not installed
    return need("openvino", "openvino")

"""NanoDet-g as vladmandic/human publishes it, in TensorFlow.js' form (Apache-2.0, by RangiLyu/nanodet)."""

from pathlib import Path

import numpy as np

from visionkit.backbones.csp_nanodet import BLOCKS
from visionkit.types import DataError
from visionkit.weights.tfjs import read_tfjs_file

LEVELS = (3, 4, 5)


def read_nanodet_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the 34 convolutions under the names of our layers, laid out as torch has them, for RGB images.

    The network was trained on BGR images: the first kernel is flipped once here. Batch normalisation was folded into
    kernels and biases by those who converted it. A level's last convolution gives classes and bins at once; ours has
    two.

    Raises:
        DataError: not this file.
    """
    stored = read_tfjs_file(file)
    tensors = {}
    try:
        for number, (layer, bias) in enumerate(zip(_layers(), _biases(), strict=True)):
            kernel = stored[f"PartitionedCall/split{f'_{number}' if number else ''}"]  # [h, w, in, out]
            kernel = kernel[:, :, ::-1] if number == 0 else kernel
            tensors[f"{layer}.weight"] = kernel.transpose(3, 2, 0, 1)
            tensors[f"{layer}.bias"] = stored[f"unknown_{bias}"]
        for level in LEVELS:
            for parameter in ("weight", "bias"):
                both = tensors.pop(f"last{level}.{parameter}")
                tensors[f"logits{level}.{parameter}"] = both[:80]
                tensors[f"bins{level}.{parameter}"] = both[80:]
    except (KeyError, ValueError) as error:
        raise DataError(f"{file}: not the weights of NanoDet-g ({error})") from error
    return tensors


def _layers():
    """Our names of the convolutions, in the order in which the file numbers them."""
    yield "stem"
    for number, (_, units, _, _) in enumerate(BLOCKS, 1):
        yield f"block{number}_in"
        for unit in range(1, units + 1):
            yield f"block{number}_unit{unit}_conv1"
            yield f"block{number}_unit{unit}_conv2"
        yield f"block{number}_out"
    for level in LEVELS:
        yield f"lateral{level}"
    for level in LEVELS:
        yield f"head{level}_conv1"
        yield f"last{level}"


def _biases():
    """The numbers of their biases: every second one, but for what the pyramid and the outputs took between."""
    return (*range(0, 56, 2), 60, 62, 66, 68, 70, 72)

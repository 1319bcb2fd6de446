"""NanoDet-g as published by vladmandic/human in TensorFlow.js' format (Apache-2.0, by RangiLyu/nanodet)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from visionkit.backbones.csp_nanodet import BLOCKS
from visionkit.types import DataError
from visionkit.weights.tfjs import read_tfjs_file

LEVELS = (3, 4, 5)


def read_nanodet_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the 34 convolutions, with the names of our layers and torch's layout, for RGB images.

    The network was trained on BGR images, so the channels of the first kernel are reversed here. The publisher folded
    batch normalisation into kernels and biases. A level's last convolution gives classes and bins together; ours has
    one convolution for each.

    Raises:
        DataError: it is not this file.
    """
    stored = read_tfjs_file(file)
    tensors: dict[str, np.ndarray] = {}
    try:
        for number, (layer, bias) in enumerate(zip(_layers(), _biases(), strict=True)):
            suffix = f"_{number}" if number else ""
            kernel = stored[f"PartitionedCall/split{suffix}"]  # [h, w, in, out]
            if number == 0:
                kernel = kernel[:, :, ::-1]
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


def _layers() -> Iterator[str]:
    """Our names of the convolutions, in the order of their numbers in the file."""
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


def _biases() -> tuple[int, ...]:
    """The numbers of their biases in the file; the pyramid and the outputs use the numbers in between."""
    return (*range(0, 56, 2), 60, 62, 66, 68, 70, 72)

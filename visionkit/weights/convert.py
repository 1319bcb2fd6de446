"""From the tensors of a torch checkpoint to the weights of our layers, by rule.

Two steps: a torch name becomes `layer.parameter` in our names (`RULES`, one list of regular expressions a family),
then the array takes our layout. The layer says how: what a kernel is to a Dense it is not to a Conv2D.
"""

import re

import keras
import numpy as np

RULES = {
    "efficientnet_lite": (
        (r"^_conv_stem\.", "stem_conv."),
        (r"^_bn0\.", "stem_bn."),
        (r"^_blocks\.(\d+)\._(expand|project)_conv\.", r"block\1_\2_conv."),
        (r"^_blocks\.(\d+)\._depthwise_conv\.", r"block\1_depthwise."),
        (r"^_blocks\.(\d+)\._bn0\.", r"block\1_expand_bn."),
        (r"^_blocks\.(\d+)\._bn1\.", r"block\1_depthwise_bn."),
        (r"^_blocks\.(\d+)\._bn2\.", r"block\1_project_bn."),
        (r"^_conv_head\.", "head_conv."),
        (r"^_bn1\.", "head_bn."),
        (r"^_fc\.", "logits."),
    ),
}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def family(architecture: str) -> str:
    """The key of `RULES` that `architecture` ("efficientnet_lite0") begins with.

    Raises:
        ValueError: no family fits.
    """
    for name in RULES:
        if architecture.startswith(name):
            return name
    raise ValueError(f"no rule converts torch weights of {architecture!r}; there are rules for {', '.join(RULES)}")


def our_name(name: str, architecture: str) -> str:
    """Our `layer.parameter` for a tensor's name in a checkpoint of `architecture`."""
    for pattern, replacement in RULES[family(architecture)]:
        name = re.sub(pattern, replacement, name)
    return name


def our_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Every layer with weights of `model` and of the models inside it, by name."""
    found = {}
    for layer in model.layers:
        found |= our_layers(layer) if isinstance(layer, keras.Model) else {layer.name: layer} if layer.weights else {}
    return found


def fit(array: np.ndarray, parameter: str, layer: keras.layers.Layer) -> tuple[str, np.ndarray]:
    """The weight of `layer` that torch calls `parameter`, and the array in its layout.

    Torch keeps kernels output first and channels before rows and columns. A dense layer behind a Flatten also
    has its rows in that order: C, H, W there, H, W, C here.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        return _NORM.get(parameter, parameter), array
    if parameter != "weight":
        return parameter, array
    if array.ndim == 4:
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return "kernel", array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    before = layer.input._keras_history.operation
    if isinstance(before, keras.layers.Flatten) and len(before.input.shape) == 4:
        height, width, channels = before.input.shape[1:]
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return "kernel", array.T

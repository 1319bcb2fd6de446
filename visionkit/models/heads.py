"""The classification heads of the papers: from a backbone's last feature map to logits.

A head is a function (features, num_classes, dropout) -> logits `[B, K]`. `HEADS` lists the heads of the papers; other
backbones get `pool_head`. The names of layers that depend on the classes begin with `logits`.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from visionkit.types import Tensor


def pool_head(x: Tensor, num_classes: int, dropout: float = 0.0, stddev: float | None = None) -> Tensor:
    """Global average pooling and one dense layer: ResNet, DenseNet, GoogLeNet; features may also be flat `[B, N]`.

    The dense layer's weights begin with the deviation `stddev`; None takes Keras' own.
    """
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="pool")(x)  # [B, C]
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    initializer = "glorot_uniform" if stddev is None else _normal(stddev)
    return layers.Dense(num_classes, kernel_initializer=initializer, dtype="float32", name="logits")(x)


def efficientnet_lite_head(x: Tensor, num_classes: int, dropout: float = 0.2) -> Tensor:
    """A last 1x1 convolution to 1280 channels (Table 1, stage 9) before the pooling."""
    x = layers.Conv2D(1280, 1, use_bias=False, kernel_initializer="he_normal", name="head_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name="head_bn")(x)
    return pool_head(layers.ReLU(6, name="head_relu")(x), num_classes, dropout)


def mobilenet_v3_head(x: Tensor, num_classes: int, dropout: float = 0.2, units: int = 1280) -> Tensor:
    """A dense layer of `units` with h-swish between the pooling and the logits (Tables 1 and 2)."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)  # [B, C]
    x = layers.Dense(units, activation="hard_silu", kernel_initializer=_normal(), name="head_fc")(x)  # [B, units]
    return pool_head(x, num_classes, dropout, 0.01)


def convnext_head(x: Tensor, num_classes: int, dropout: float = 0.0) -> Tensor:
    """Layer normalisation after the pooling (section 2.6)."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)  # [B, C]
    return pool_head(layers.LayerNormalization(epsilon=1e-6, name="head_norm")(x), num_classes, dropout, 0.02)


def dense_head(x: Tensor, num_classes: int, dropout: float = 0.5, size: int = 7) -> Tensor:
    """AlexNet and VGG: two dense layers of 4096, with dropout. Maps of other sizes are averaged to `size` x `size`."""
    x = layers.AdaptiveAveragePooling2D((size, size), name="pool")(x)  # [B, size, size, C]
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(4096, activation="relu", kernel_initializer=_normal(), name=name)(x)  # [B, 4096]
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(num_classes, kernel_initializer=_normal(), dtype="float32", name="logits")(x)


def nin_head(x: Tensor, num_classes: int, dropout: float = 0.5) -> Tensor:
    """A last mlpconv block with one channel per class; the average of a channel is the class's logit (section 3.2)."""
    x = layers.Dropout(dropout, name="dropout")(x)
    for i, kernel in enumerate((3, 1, 1), 1):
        x = layers.Conv2D(
            num_classes,
            kernel,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"logits_conv{i}",
        )(x)
    return layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)


def auxiliary_head(x: Tensor, num_classes: int, name: str, dropout: float = 0.7) -> Tensor:
    """GoogLeNet's classifiers on intermediate layers (section 5): average pooling, 1x1 to 128, dense 1024, dropout."""
    x = layers.AdaptiveAveragePooling2D((4, 4), name=f"{name}_pool")(x)
    x = layers.Conv2D(128, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    x = layers.Flatten(name=f"{name}_flatten")(layers.ReLU(name=f"{name}_relu")(x))  # [B, 2048]
    x = layers.Dense(1024, activation="relu", name=f"{name}_fc1")(x)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name=f"logits_{name}")(x)


HEADS: dict[str, Callable[..., Tensor]] = {
    "alexnet": functools.partial(dense_head, size=6),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), dense_head),
    "nin": nin_head,
    "googlenet": functools.partial(pool_head, dropout=0.2),
    **dict.fromkeys(("efficientnet_lite0", "efficientnet_lite1"), efficientnet_lite_head),
    "efficientnet_lite2": functools.partial(efficientnet_lite_head, dropout=0.3),
    "mobilenet_v2": functools.partial(pool_head, dropout=0.2, stddev=0.01),
    "mobilenet_v3_large": mobilenet_v3_head,
    "mobilenet_v3_small": functools.partial(mobilenet_v3_head, units=1024),
    **dict.fromkeys(("convnext_tiny", "convnext_small"), convnext_head),
}


def _normal(stddev: float = 0.01) -> Any:
    """The initial weights of the dense layers in the papers of AlexNet and VGG, and in torchvision's MobileNets."""
    # A new one for each layer, because one initializer draws the same values every time.
    return keras.initializers.RandomNormal(stddev=stddev)

"""FCN: fully convolutional networks for segmentation (Long et al. 2015, arXiv 1411.4038) over any backbone."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import layers

from visionkit.layers.upsample import upsample
from visionkit.models.segmenter import (
    Segmenter,
    auxiliary_maps,
    auxiliary_of,
    conv_bn,
    factor_of,
    score,
    stride_of,
)
from visionkit.models.task import ClassRows, take_levels
from visionkit.types import Tensor

# The paper's network, to be used with VGG16: FCN(vgg16(), 21, **FCN8S). The coarser variants have fewer skips.
FCN8S: dict[str, Any] = {
    "head_units": 0,
    "fc_units": 4096,
    "dropout": 0.5,
    "pooled_skips": True,
    "upsampling": "learned",
}
FCN16S: dict[str, Any] = FCN8S | {"levels": ("C4", "C5")}
FCN32S: dict[str, Any] = FCN8S | {"levels": ("C5",)}
# torchvision's, to be used with backbones.resnet.resnet50_dilated.
FCN_RESNET: dict[str, Any] = {"levels": ("C3",), "head_units": 512, "dropout": 0.1, "upsampling": "stretched"}


class FCN(Segmenter):
    """A fully convolutional network that predicts every pixel's class from several levels of a backbone.

    There are two ways to combine the levels. In the paper's, `head_units=0`, a 1x1 convolution scores every level, and
    the scores are upsampled and summed from coarse to fine. Otherwise a 3x3 convolution with batch norm and ReLU brings
    every level to `head_units` channels, these are upsampled and summed, and the sum goes through another such
    convolution before it is scored; this gives finer borders. With a single level it is torchvision's head.

    Outputs of the graph: `logits` float32 `[B, H, W, K]` at the size of the images, and for each output "aux..." of the
    backbone another such map of that name, which only training uses. Trained with `y` = {"segmentation": int32
    `[B, H, W]`, 255 = ignore}.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, image_size, resize: see `Task`. If there is a class "background", it counts as one of
            the K. Any image size is accepted; it need not be a multiple of a stride.
        levels: the levels that are combined; the finest makes FCN-4s (C2), 8s (C3), 16s (C4) or 32s (C5).
        head_units: channels of the heads; 0 for the paper's.
        fc_units: channels of VGG's fc6 (7x7) and fc7 on top of the coarsest level; 0 omits them.
        dropout: probability, after fc6 and fc7 and before the last convolution of the heads.
        pooled_skips: replaces each finer level Cn by C(n-1) max-pooled; in VGG these are the paper's pool3 and pool4.
        upsampling: "fixed" interpolates bilinearly by the ratio of the strides; "learned" uses transposed convolutions
            that start from it; "stretched" interpolates to the size that is needed, as torchvision does, and so moves
            what lies far from the top left if the strides do not divide the images' size.
        loss: "cross_entropy" or "focal".
        dice: weight of the Dice loss that is added to it.
        class_weights: K factors of `loss` by the true class (see `data.balance`); None weights all equally.
        kwargs: see `Task`.
    """

    class_layers: ClassVar = {"logits": ClassRows(), "upsample": ClassRows(mixed=True)}

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (360, 480),
        resize: str = "letterbox",
        levels: Sequence[str] = ("C3", "C4", "C5"),
        head_units: int = 128,
        fc_units: int = 0,
        dropout: float = 0.1,
        pooled_skips: bool = False,
        upsampling: str = "fixed",
        loss: str = "cross_entropy",
        dice: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        levels = sorted(levels, reverse=True)  # coarse to fine
        factor = factor_of(upsampling, levels[-1], ("fixed", "learned", "stretched"))
        backbone_input: Tensor = backbone.input
        images = keras.Input((*image_size, backbone_input.shape[-1]), name="images")
        auxiliary = auxiliary_of(backbone)
        below = {level: f"C{int(level[1:]) - 1}" for level in levels[1:]} if pooled_skips else {}
        features = take_levels(backbone, images, [below.get(level, level) for level in levels] + auxiliary)
        for level, finer in below.items():  # coarse to fine, so that a level is pooled before it is replaced
            features[level] = layers.MaxPooling2D(2, name=f"skip{level[1:]}")(features[finer])
        if fc_units:
            features[levels[0]] = _fully_connected(features[levels[0]], fc_units, dropout)

        x = _combine(features, levels, head_units, num_classes, upsampling)
        if head_units:
            if len(levels) > 1:
                x = conv_bn(x, head_units, "head")
            x = score(layers.Dropout(dropout, name="head_dropout")(x), num_classes, "logits")
        # The large maps are float32, and so is all that follows: half precision cannot tell close probabilities apart.
        outputs = {"logits": upsample(x, image_size, "upsample", factor, upsampling == "learned", "float32")}
        outputs |= auxiliary_maps(features, auxiliary, num_classes, image_size, dropout)  # each [B, H, W, K]
        super().__init__(
            images,
            outputs,
            image_size=image_size,
            num_classes=num_classes,
            class_names=class_names,
            resize=resize,
            **kwargs,
        )
        self.learn_by(backbone, loss, dice, class_weights)


def _combine(
    features: dict[str, Tensor], levels: Sequence[str], head_units: int, num_classes: int, upsampling: str
) -> Tensor:
    """Sums the levels from coarse to fine, upsampling each sum to the next level's size.

    Returns:
        `[B, h, w, head_units]` at the size of the finest level, or scores `[B, h, w, K]` if `head_units` is 0.
    """
    total: Tensor = None
    coarser = ""
    for level in levels:
        number = level[1:]
        if head_units:
            x = conv_bn(features[level], head_units, f"head{number}")  # [B, h, w, head_units]
        else:
            x = score(features[level], num_classes, f"logits{number}", "zeros")  # [B, h, w, K]
        if total is not None:
            factor = None if upsampling == "stretched" else stride_of(coarser) // stride_of(level)
            total = upsample(total, x.shape[1:3], f"upsample{number}", factor, upsampling == "learned")
            x = layers.Add(name=f"sum{number}")([total, x])
        total, coarser = x, level
    return total


def _fully_connected(x: Tensor, units: int, dropout: float) -> Tensor:
    """VGG's two large layers as convolutions (section 3.1)."""
    for name, kernel in (("fc6", 7), ("fc7", 1)):
        convolution = layers.Conv2D(
            units, kernel, padding="same", activation="relu", kernel_initializer="he_normal", name=name
        )
        x = layers.Dropout(dropout, name=f"{name}_dropout")(convolution(x))
    return x

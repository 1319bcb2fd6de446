"""DeepLabV3: atrous spatial pyramid pooling (Chen et al. 2017, arXiv 1706.05587) over any backbone."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from visionkit.layers.upsample import Interpolate, upsample
from visionkit.models.segmenter import (
    Segmenter,
    auxiliary_maps,
    auxiliary_of,
    conv_bn,
    factor_of,
    levels_of,
    score,
)
from visionkit.models.task import take_levels
from visionkit.types import Tensor

AUXILIARY_DROPOUT = 0.1
# torchvision's, to be used with resnet50_dilated, resnet101_dilated and mobilenet_v3_large_dilated.
DEEPLABV3_TORCHVISION: dict[str, Any] = {"rates": (12, 24, 36), "upsampling": "stretched"}


class DeepLabV3(Segmenter):
    """A network that looks at one level of a backbone at several scales, and classifies every pixel.

    Parallel convolutions with different dilation, a 1x1 and the average of the whole image see each place with
    surroundings of different size (section 3.3). The backbone should be a dilated one, whose deepest level has a stride
    of 8 or 16.

    Outputs, targets and the arguments that are not listed: see `Segmenter` and `Task`.

    Args:
        backbone: a model images -> {"Cn": features}.
        level: the level that is classified; None is the deepest.
        units: channels of each branch and of the head.
        rates: dilations of the 3x3 branches; None doubles 6, 12, 18, which suit stride 16, at stride 8, and halves them
            at 32.
        dropout: probability, after the branches are joined.
        upsampling: "fixed" enlarges the scores by the stride, and what is too much is cut off at the bottom and right;
            "stretched" brings them to the size of the images, as torchvision does. They differ where the stride does
            not divide that size.
        loss: "cross_entropy" or "focal".
        dice: weight of the Dice loss that is added to it.
        class_weights: K factors of `loss` by the true class; None weights all equally.
        kwargs: see `Task`.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (360, 480),
        resize: str = "letterbox",
        level: str | None = None,
        units: int = 256,
        rates: Sequence[int] | None = None,
        dropout: float = 0.5,
        upsampling: str = "fixed",
        loss: str = "cross_entropy",
        dice: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        level = level or levels_of(backbone)[-1]
        factor = factor_of(upsampling, level)
        backbone_input: Tensor = backbone.input
        images = keras.Input((*image_size, backbone_input.shape[-1]), name="images")
        auxiliary = auxiliary_of(backbone)
        features = take_levels(backbone, images, [level, *auxiliary])
        x = _pyramid(features[level], units, rates or _rates(int(level[1:])))  # [B, h, w, units]
        x = conv_bn(layers.Dropout(dropout, name="aspp_dropout")(x), units, "head")
        x = score(x, num_classes, "logits")
        # The large maps are float32, and so is all that follows: half precision cannot tell close probabilities apart.
        outputs = {"logits": upsample(x, image_size, "upsample", factor, dtype="float32")}  # [B, H, W, K]
        outputs |= auxiliary_maps(features, auxiliary, num_classes, image_size, AUXILIARY_DROPOUT)
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


def _pyramid(x: Tensor, units: int, rates: Sequence[int]) -> Tensor:
    """Section 3.3, Figure 5: the branches, joined and brought back to `units` channels."""
    branches = [conv_bn(x, units, "aspp0", kernel=1)]
    branches += [conv_bn(x, units, f"aspp{i}", dilation=rate) for i, rate in enumerate(rates, 1)]
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)  # [B, 1, 1, C]
    whole = conv_bn(whole, units, "aspp_image", kernel=1)
    branches.append(Interpolate(x.shape[1:3], name="aspp_spread")(whole))  # [B, h, w, units]
    return conv_bn(layers.Concatenate(name="aspp")(branches), units, "aspp_project", kernel=1)


def _rates(number: int) -> list[int]:
    """Section 4.2: 6, 12, 18 at stride 16 (level 4)."""
    return [max(1, round(rate * 2.0 ** (4 - number))) for rate in (6, 12, 18)]

"""LR-ASPP, the segmentation head of MobileNetV3 (Howard et al. 2019, arXiv 1905.02244), over any backbone."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from visionkit.layers.upsample import upsample
from visionkit.models.segmenter import (
    Segmenter,
    auxiliary_maps,
    auxiliary_of,
    conv_bn,
    factor_of,
    levels_of,
    score,
    stride_of,
)
from visionkit.models.task import take_levels
from visionkit.types import Tensor

# torchvision's, to be used with mobilenet_v3_large_dilated; its checkpoint has no auxiliary head.
LRASPP_TORCHVISION: dict[str, Any] = {"upsampling": "stretched", "auxiliary": False}


class LRASPP(Segmenter):
    """A light network for phones that classifies every pixel by a fine and a coarse level of a backbone.

    Section 6.4, Figure 10: the coarse level, weighted channel by channel by the average of the whole image, and the
    fine level are scored each, and the scores summed. The backbone should be a dilated one, whose deepest level has
    stride 16.

    Outputs, targets and the arguments that are not listed: see `Segmenter` and `Task`.

    Args:
        backbone: a model images -> {"Cn": features}.
        low: the fine level.
        high: the coarse level; None is the deepest.
        units: channels of the coarse level's branch.
        upsampling: "fixed" or "stretched", see `DeepLabV3`.
        auxiliary: gives the backbone's outputs "aux..." heads that training uses.
        loss: "cross_entropy" or "focal".
        dice: weight of the Dice loss that is added to it.
        class_weights: K factors of `loss` by the true class; None weights all equally.
        kwargs: see `Task`.

    Raises:
        ValueError: `high` does not lie above `low`.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (360, 480),
        resize: str = "letterbox",
        low: str = "C3",
        high: str | None = None,
        units: int = 128,
        upsampling: str = "fixed",
        auxiliary: bool = True,
        loss: str = "cross_entropy",
        dice: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        high = high or levels_of(backbone)[-1]
        if high <= low:
            raise ValueError(f"the coarse level must lie above the fine one, {low}, but is {high}")
        factor = factor_of(upsampling, low)
        backbone_input: Tensor = backbone.input
        images = keras.Input((*image_size, backbone_input.shape[-1]), name="images")
        heads = auxiliary_of(backbone) if auxiliary else []
        features = take_levels(backbone, images, [low, high, *heads])
        fine = features[low]
        between = stride_of(high) // stride_of(low) if factor else None
        x = upsample(_weighted(features[high], units), fine.shape[1:3], "upsample_high", between)  # [B, h, w, units]
        x = layers.Add(name="sum")([score(fine, num_classes, "logits_low"), score(x, num_classes, "logits_high")])
        # The large maps are float32, and so is all that follows: half precision cannot tell close probabilities apart.
        outputs = {"logits": upsample(x, image_size, "upsample", factor, dtype="float32")}  # [B, H, W, K]
        outputs |= auxiliary_maps(features, heads, num_classes, image_size, dropout=0.1)
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


def _weighted(x: Tensor, units: int) -> Tensor:
    """`units` channels of the coarse level, each times a factor 0..1 from the average of the whole image."""
    factors = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)  # [B, 1, 1, C]
    factors = layers.Conv2D(units, 1, use_bias=False, activation="sigmoid", name="factors")(factors)
    return layers.Multiply(name="weighted")([conv_bn(x, units, "head", kernel=1), factors])

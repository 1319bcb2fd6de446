"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597) over any backbone."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from visionkit.layers.upsample import CropOrPad, upsample
from visionkit.models.segmenter import Segmenter, conv_bn, levels_of, score, stride_of
from visionkit.models.task import take_levels
from visionkit.types import Tensor


class UNet(Segmenter):
    """A network that goes back from a backbone's coarsest level to full resolution, step by step.

    Each step doubles the map, appends the backbone's level of that size, where there is one, and convolves twice
    (Figure 1). It draws the finest borders of our segmenters, and costs most: with `finest="C1"` or "C2" the last steps
    are left out and their scores are interpolated.

    Outputs, targets and the arguments that are not listed: see `Segmenter` and `Task`. There are no auxiliary maps.

    Args:
        backbone: a model images -> {"Cn": features}.
        units: channels of the steps from coarse to fine, at least as many as there are steps.
        finest: the level at which the steps end; "C0" is full resolution.
        dropout: probability, before the scores.
        loss: "cross_entropy" or "focal".
        dice: weight of the Dice loss that is added to it.
        class_weights: K factors of `loss` by the true class; None weights all equally.
        kwargs: see `Task`.

    Raises:
        ValueError: `units` and the steps from the last level to `finest` do not fit together.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (360, 480),
        resize: str = "letterbox",
        units: Sequence[int] = (256, 128, 64, 32, 16),
        finest: str = "C0",
        dropout: float = 0.0,
        loss: str = "cross_entropy",
        dice: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        backbone_input: Tensor = backbone.input
        images = keras.Input((*image_size, backbone_input.shape[-1]), name="images")
        levels = [level for level in levels_of(backbone) if level >= finest]
        steps = int(levels[-1][1:]) - int(finest[1:]) if levels else 0
        if not 0 < steps <= len(units):
            raise ValueError(
                f"{steps} steps from {levels[-1] if levels else 'no level'} to {finest} but {len(units)} units; "
                "give units for each step, and a finest below the backbone's last level"
            )
        x = _climb(take_levels(backbone, images, levels), image_size, units[:steps])
        if dropout:
            x = layers.Dropout(dropout, name="head_dropout")(x)
        x = score(x, num_classes, "logits", kernel=3)
        # The large map is float32, and so is all that follows: half precision cannot tell close probabilities apart.
        outputs = {"logits": upsample(x, image_size, "upsample", stride_of(finest), dtype="float32")}  # [B, H, W, K]
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


def _climb(features: dict[str, Tensor], image_size: tuple[int, int], units: Sequence[int]) -> Tensor:
    """The steps from the coarsest level, one for each of `units`."""
    coarsest = max(features)
    height, width = image_size
    x = features[coarsest]
    for number, channels in zip(range(int(coarsest[1:]) - 1, -1, -1), units, strict=False):
        stride = 2**number
        skip = features.get(f"C{number}")
        size = (-(-height // stride), -(-width // stride)) if skip is None else skip.shape[1:3]
        x = layers.UpSampling2D(2, name=f"up{number}")(x)
        x = CropOrPad(size, name=f"up{number}_crop")(x)
        if skip is not None:
            x = layers.Concatenate(name=f"up{number}_join")([x, skip])
        x = conv_bn(x, channels, f"up{number}_conv1")
        x = conv_bn(x, channels, f"up{number}_conv2")  # [B, H / 2**number, W / 2**number, channels]
    return x

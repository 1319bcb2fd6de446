"""What the networks for segmentation share: the loss of a map of logits, and the blocks of their heads."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import layers, ops

from visionkit.layers.upsample import upsample
from visionkit.models.task import ClassRows, Task, takes_every_size
from visionkit.ops.segmentation_losses import dice_loss, pixel_cross_entropy
from visionkit.types import IGNORE, Tensor

AUXILIARY_WEIGHT = 0.5  # the weight of an auxiliary head's loss, as in torchvision's reference scripts
FOCAL = 2.0  # gamma of the focal loss


class Segmenter(Task):
    """A network that predicts every pixel's class.

    Outputs of the graph: `logits` float32 `[B, H, W, K]` at the size of the images, and for each output "aux..." of the
    backbone another such map of that name, which only training uses. Trained with `y` = {"segmentation": int32
    `[B, H, W]`, 255 = ignore}. If there is a class "background", it counts as one of the K.

    A subclass builds the graph, calls `Task.__init__` and then `learn_by`.
    """

    class_layers: ClassVar = {"logits": ClassRows()}
    task = "segment"

    def learn_by(self, backbone: keras.Model, loss: str, dice: float, class_weights: Sequence[float] | None) -> None:
        """Sets what `compute_loss` computes.

        Args:
            backbone: the one that the graph was built on.
            loss: "cross_entropy" or "focal".
            dice: weight of the Dice loss that is added to it.
            class_weights: K factors of `loss` by the true class (see `data.balance`); None weights all equally.
        """
        if loss not in ("cross_entropy", "focal"):
            raise ValueError(f"loss must be 'cross_entropy' or 'focal', not {loss!r}")
        if class_weights is not None and len(class_weights) != self.num_classes:
            raise ValueError(f"{self.num_classes} classes but {len(class_weights)} class weights")
        self.backbone = backbone
        self.focal = FOCAL if loss == "focal" else 0.0
        self.dice = dice
        self.class_weights = class_weights
        self.accuracy = keras.metrics.Mean(name="accuracy")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of `logits`, and in training half that of every auxiliary map."""
        labels = ops.cast(y["segmentation"], "int32")  # [B, H, W]
        self._update_accuracy(y_pred["logits"], labels)
        loss = self.map_loss(y_pred["logits"], labels)
        for name in y_pred:
            if name != "logits" and training:
                loss = loss + AUXILIARY_WEIGHT * self.map_loss(y_pred[name], labels)
        return loss + sum(self.losses)

    def map_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of one map of logits `[B, H, W, K]` for labels int32 `[B, H, W]`: a float32 scalar."""
        loss = pixel_cross_entropy(logits, labels, self.class_weights, self.focal, self.over_devices)
        if self.dice:
            loss = loss + self.dice * dice_loss(logits, labels, self.over_devices)
        return loss

    def serving(self) -> keras.Model:
        """images `[B, H, W, C]` 0..255 -> {"probabilities": float32 `[B, H, W, K]`} at the size of the images."""
        probabilities = layers.Softmax(dtype="float32", name="probabilities")(self(self.input)["logits"])
        return keras.Model(self.input, {"probabilities": probabilities}, name=f"{self.name}_serving")

    def _update_accuracy(self, logits: Tensor, labels: Tensor) -> None:
        """Uses every 16th pixel, because the arg max of all of them would cost as much as the loss."""
        logits, labels = logits[:, ::4, ::4], labels[:, ::4, ::4]
        hits = ops.cast(ops.argmax(logits, axis=-1), "int32") == labels
        self.accuracy.update_state(ops.cast(hits, "float32"), ops.cast(labels != IGNORE, "float32"))


def stride_of(level: str) -> int:
    """The stride of level "Cn", which is `2**n`."""
    return 2 ** int(level[1:])


def levels_of(backbone: keras.Model) -> list[str]:
    """The names of a backbone's levels "Cn", from fine to coarse, without its other outputs."""
    outputs: Any = backbone.output
    return sorted(name for name in outputs if name[0] == "C" and name[1:].isdigit())


def auxiliary_of(backbone: keras.Model) -> list[str]:
    """The names of a backbone's outputs for auxiliary heads."""
    outputs: Any = backbone.output
    return [name for name in outputs if name.startswith("aux")]


def auxiliary_maps(
    features: dict[str, Tensor], names: Sequence[str], num_classes: int, size: tuple[int, int], dropout: float
) -> dict[str, Tensor]:
    """The maps of logits `[B, H, W, K]` of the auxiliary heads, by the names of the features that they are built on."""
    maps: dict[str, Tensor] = {}
    for name in names:
        x = conv_bn(features[name], features[name].shape[-1] // 4, f"{name}_head")
        x = score(layers.Dropout(dropout, name=f"{name}_dropout")(x), num_classes, f"logits_{name}")
        maps[name] = upsample(x, size, f"{name}_upsample", dtype="float32")
    return maps


def factor_of(upsampling: str, level: str, choices: Sequence[str] = ("fixed", "stretched")) -> int | None:
    """By how much scores of `level` are enlarged to the images; None stretches them to the images' size.

    Raises:
        ValueError: `upsampling` is none of the `choices`.
    """
    if upsampling not in choices:
        raise ValueError(f"upsampling must be {' or '.join(map(repr, choices))}, not {upsampling!r}")
    return None if upsampling == "stretched" else stride_of(level)


def conv_bn(x: Tensor, channels: int, name: str, kernel: int = 3, dilation: int = 1) -> Tensor:
    """A convolution without bias, batch normalisation and ReLU."""
    x = layers.Conv2D(
        channels,
        kernel,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def score(x: Tensor, num_classes: int, name: str, initializer: str = "glorot_uniform", kernel: int = 1) -> Tensor:
    """The convolution that gives each place a logit for each class."""
    return layers.Conv2D(num_classes, kernel, padding="same", kernel_initializer=initializer, name=name)(x)

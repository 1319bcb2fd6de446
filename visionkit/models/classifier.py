"""Image classification: a backbone with its paper's head, or with global average pooling."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from visionkit.models.heads import HEADS, auxiliary_head, pool_head
from visionkit.models.task import ClassRows, Task
from visionkit.types import Tensor

AUXILIARY_WEIGHT = 0.3  # the weight of an auxiliary classifier's loss (Szegedy et al. 2015, section 5)


class Classifier(Task):
    """Predicts which of K classes an image shows.

    The graph's output is {"logits": float32 `[B, K]`}. Trained with `y` = {"label": int32 `[B]` class ids, or float32
    `[B, K]` class probabilities (mixup, CutMix)}; `sample_weight` `[B]` weights the images.

    Args:
        backbone: a model images -> {"Cn": features}; the head is built on the highest level, or on "features" if there
            is such an output. Outputs "aux1", "aux2" (GoogLeNet) get auxiliary classifiers, which only training uses.
        num_classes, class_names, image_size, resize: see `Task`. The default "crop" shows the middle of an image, as
            ImageNet classifiers are evaluated; a grey border (letterbox) costs them about 10 points.
        head: "paper" is the head that the backbone was published with (for VGG and AlexNet two dense layers of 4096);
            "pool" is global average pooling and one dense layer, which suits fine-tuning on few images.
        dropout: probability; None uses the paper's.
        label_smoothing: share of the target that is spread evenly over the classes (Szegedy et al. 2016, section 7).
        class_weights: K factors of the loss by the true class, to make up for rare classes; None weights all equally.
        kwargs: see `Task`.

    Raises:
        ValueError: `head` is neither, or there are not K class weights.
    """

    class_layers: ClassVar = {"logits": ClassRows(), "logits_conv": ClassRows(mixed=True)}
    task = "classify"

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (224, 224),
        resize: str = "crop",
        head: str = "paper",
        dropout: float | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        if head not in ("paper", "pool"):
            raise ValueError(f"head must be 'paper' or 'pool', not {head!r}")
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"{num_classes} classes but {len(class_weights)} class weights")
        kwargs.setdefault("name", f"{backbone.name}_classifier")
        backbone_input: Tensor = backbone.input
        images = keras.Input((*image_size, backbone_input.shape[-1]), name="images")
        features: Any = backbone(images)
        make_head = HEADS.get(backbone.name, pool_head) if head == "paper" else pool_head
        options = {} if dropout is None else {"dropout": dropout}
        top = "features" if "features" in features else max(level for level in features if level[0] == "C")
        outputs = {"logits": make_head(features[top], num_classes, **options)}
        for name in features:
            if name.startswith("aux"):
                outputs[name] = auxiliary_head(features[name], num_classes, name)
        super().__init__(
            images,
            outputs,
            image_size=image_size,
            num_classes=num_classes,
            class_names=class_names,
            resize=resize,
            **kwargs,
        )
        self.backbone = backbone
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.accuracy = keras.metrics.Mean(name="accuracy")

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Softmax cross-entropy, averaged over the batch."""
        logits, target = y_pred["logits"], ops.convert_to_tensor(y["label"])
        if len(target.shape) == 1:
            target = ops.one_hot(target, self.num_classes)
        target = ops.cast(target, "float32")  # [B, K]
        hits = ops.equal(ops.argmax(logits, axis=-1), ops.argmax(target, axis=-1))
        self.accuracy.update_state(ops.cast(hits, "float32"), sample_weight)
        factors = [1.0] * self.num_classes if self.class_weights is None else list(self.class_weights)
        weights = ops.sum(target * ops.convert_to_tensor(factors, dtype="float32"), axis=-1)  # [B]
        target = target * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes
        loss = weights * ops.categorical_crossentropy(target, logits, from_logits=True)  # [B]
        for name in y_pred:
            if name != "logits" and training:
                auxiliary = ops.categorical_crossentropy(target, y_pred[name], from_logits=True)
                loss = loss + AUXILIARY_WEIGHT * auxiliary
        if sample_weight is not None:
            loss = loss * ops.cast(sample_weight, "float32")
        return ops.mean(loss) + sum(self.losses)

    def serving(self) -> keras.Model:
        """images `[B, H, W, C]` 0..255 -> {"scores": float32 `[B, K]`, probabilities in the order of `class_names`}."""
        scores = keras.layers.Softmax(dtype="float32", name="scores")(self(self.input)["logits"])
        return keras.Model(self.input, {"scores": scores}, name=f"{self.name}_serving")

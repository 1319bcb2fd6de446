"""FCN: fully convolutional networks for segmentation (Long et al. 2015, arXiv 1411.4038) over any backbone."""

import keras
from keras import layers, ops

from visionkit.layers.upsample import upsample
from visionkit.models.task import Task, take_levels
from visionkit.ops.segmentation_losses import dice_loss, pixel_cross_entropy
from visionkit.types import IGNORE

AUXILIARY_WEIGHT = 0.5  # of an auxiliary head's loss, as torchvision's references have it
FOCAL = 2.0  # gamma

# The paper's network, to be used with VGG16: FCN(vgg16(), 21, **FCN8S). Its coarser forms have fewer skips.
FCN8S = {"head_units": 0, "fc_units": 4096, "dropout": 0.5, "pooled_skips": True, "upsampling": "learned"}
FCN16S = FCN8S | {"levels": ("C4", "C5")}
FCN32S = FCN8S | {"levels": ("C5",)}
# torchvision's, to be used with backbones.resnet.resnet50_dilated.
FCN_RESNET = {"levels": ("C3",), "head_units": 512, "dropout": 0.1, "upsampling": "fixed"}


class FCN(Task):
    """A fully convolutional network: every pixel's class, from several levels of a backbone.

    Two ways to join the levels. The paper's, `head_units=0`: a 1x1 convolution scores every level, and the scores are
    upsampled and summed from coarse to fine. Else every level gets `head_units` channels by a 3x3 convolution with
    batch norm and ReLU, these are upsampled and summed, and the sum is scored behind another such convolution; that
    draws finer borders. With a single level this is torchvision's head.

    Outputs of the graph: `logits` float32 `[B, H, W, K]` at the size of the images, and for each output "aux..." of the
    backbone another such map under its name, which only training uses. Trained with `y` = {"segmentation": int32
    `[B, H, W]`, 255 = ignore}.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, image_size, resize: see `Task`. Where one class is "background", it is counted here.
            Any size goes; none need divide by a stride.
        levels: the levels that are joined; the finest makes FCN-4s (C2), 8s (C3), 16s (C4) or 32s (C5).
        head_units: channels of the heads; 0 for the paper's.
        fc_units: VGG's fc6 (7x7) and fc7 of so many channels stand on the coarsest level; 0 for neither.
        dropout: probability, behind fc6 and fc7, and before the score of the heads.
        pooled_skips: a finer level Cn is C(n-1) max-pooled, which in VGG are the paper's pool3 and pool4.
        upsampling: "fixed" interpolates bilinearly, "learned" begins so and is trained (transposed convolutions).
        loss: "cross_entropy" or "focal".
        dice: weight of the Dice loss beside it.
        class_weights: K factors of the first loss by the true class (see `data.balance`); None weighs all alike.
    """

    task = "segment"

    def __init__(
        self,
        backbone,
        num_classes,
        class_names=(),
        image_size=(360, 480),
        resize="letterbox",
        levels=("C3", "C4", "C5"),
        head_units=128,
        fc_units=0,
        dropout=0.1,
        pooled_skips=False,
        upsampling="fixed",
        loss="cross_entropy",
        dice=0.0,
        class_weights=None,
        **kwargs,
    ):
        if upsampling not in ("fixed", "learned"):
            raise ValueError(f"upsampling must be 'fixed' or 'learned', not {upsampling!r}")
        if loss not in ("cross_entropy", "focal"):
            raise ValueError(f"loss must be 'cross_entropy' or 'focal', not {loss!r}")
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"{num_classes} classes but {len(class_weights)} class weights")
        images = keras.Input((*image_size, backbone.input.shape[-1]), name="images")
        auxiliary = [name for name in backbone.output if name.startswith("aux")]
        levels = sorted(levels, reverse=True)  # coarse to fine
        below = {level: f"C{int(level[1:]) - 1}" for level in levels[1:]} if pooled_skips else {}
        features = take_levels(backbone, images, [below.get(level, level) for level in levels] + auxiliary)
        for level, finer in below.items():  # coarse to fine: a level is pooled before it is replaced
            features[level] = layers.MaxPooling2D(2, name=f"skip{level[1:]}")(features[finer])
        if fc_units:
            features[levels[0]] = _fully_connected(features[levels[0]], fc_units, dropout)

        x, strides = None, [2 ** int(level[1:]) for level in levels]
        learned = upsampling == "learned"
        for i, level in enumerate(levels):
            if head_units:
                y = _conv_bn(features[level], head_units, f"head{level[1:]}")  # [B, h, w, head_units]
            else:
                y = _score(features[level], num_classes, f"logits{level[1:]}", "zeros")  # [B, h, w, K]
            if x is not None:
                x = upsample(x, y.shape[1:3], strides[i - 1] // strides[i], learned, f"upsample{level[1:]}")
                y = layers.Add(name=f"sum{level[1:]}")([x, y])
            x = y
        if head_units:
            x = _conv_bn(x, head_units, "head") if len(levels) > 1 else x
            x = _score(layers.Dropout(dropout, name="head_dropout")(x), num_classes, "logits")
        # The large maps and what is made of them are float32: half precision cannot tell close probabilities.
        outputs = {"logits": upsample(x, image_size, strides[-1], learned, "upsample", "float32")}  # [B, H, W, K]
        for name in auxiliary:
            x = _conv_bn(features[name], features[name].shape[-1] // 4, f"{name}_head")
            x = _score(layers.Dropout(dropout, name=f"{name}_dropout")(x), num_classes, f"logits_{name}")
            outputs[name] = upsample(x, image_size, None, False, f"{name}_upsample", "float32")
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
        self.focal = FOCAL if loss == "focal" else 0.0
        self.dice = dice
        self.class_weights = class_weights
        self.accuracy = keras.metrics.Mean(name="accuracy")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `logits`, and in training half that of every auxiliary map."""
        labels = ops.cast(y["segmentation"], "int32")  # [B, H, W]
        self._update_accuracy(y_pred["logits"], labels)
        loss = self.map_loss(y_pred["logits"], labels)
        for name in y_pred:
            if name != "logits" and training:
                loss = loss + AUXILIARY_WEIGHT * self.map_loss(y_pred[name], labels)
        return loss + sum(self.losses)

    def map_loss(self, logits, labels):
        """The loss of one map of logits `[B, H, W, K]`: a float32 scalar."""
        loss = pixel_cross_entropy(logits, labels, self.class_weights, self.focal, self.over_devices)
        return loss + self.dice * dice_loss(logits, labels, self.over_devices) if self.dice else loss

    def serving(self) -> keras.Model:
        """images `[B, H, W, C]` 0..255 -> {"probabilities": float32 `[B, H, W, K]`} at the size of the images."""
        probabilities = layers.Softmax(dtype="float32", name="probabilities")(self(self.input)["logits"])
        return keras.Model(self.input, {"probabilities": probabilities}, name=f"{self.name}_serving")

    def _update_accuracy(self, logits, labels):
        """Of every 16th pixel: the arg max of all of them is as dear as the loss."""
        logits, labels = logits[:, ::4, ::4], labels[:, ::4, ::4]
        hits = ops.cast(ops.argmax(logits, axis=-1), "int32") == labels
        self.accuracy.update_state(ops.cast(hits, "float32"), ops.cast(labels != IGNORE, "float32"))


def _fully_connected(x, units, dropout):
    """VGG's two large layers as convolutions (section 3.1)."""
    for name, kernel in (("fc6", 7), ("fc7", 1)):
        x = layers.Conv2D(units, kernel, padding="same", activation="relu", kernel_initializer="he_normal", name=name)(
            x
        )
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _conv_bn(x, channels, name):
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _score(x, num_classes, name, initializer="glorot_uniform"):
    return layers.Conv2D(num_classes, 1, kernel_initializer=initializer, name=name)(x)

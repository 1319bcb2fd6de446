"""SSD: single shot multibox detector (Liu et al. 2016, arXiv 1512.02325) over any backbone's levels."""

import keras
import numpy as np
from keras import layers, ops

from visionkit.layers.decode import DecodeDetections
from visionkit.layers.fpn import convolution, feature_pyramid
from visionkit.models.task import Task, take_levels
from visionkit.ops import anchors as anchor_ops
from visionkit.ops import boxes as box_ops
from visionkit.ops.losses import hardest, smooth_l1, softmax_cross_entropy
from visionkit.ops.matching import assign

NEGATIVES_PER_POSITIVE = 3  # section 2.2, "Hard negative mining"


# What the paper's networks are made of, to be used with backbones.ssd_vgg: SSD(ssd300_vgg16(), 20, **SSD300). The sizes
# of the anchors are those for VOC in its implementation; COCO has smaller ones.
_FEW, _MORE = (1.0, 2.0, 0.5), (1.0, 2.0, 0.5, 3.0, 1 / 3)
_PAPER = {"resize": "stretch", "extra_levels": 0, "pyramid_channels": 0, "clip_anchors": True}
SSD300 = _PAPER | {
    "image_size": (300, 300),
    "levels": ("C3", "C4", "C5", "C6", "C7", "C8"),
    "steps": (8, 16, 32, 64, 100, 300),
    "anchor_sizes": (30, 60, 111, 162, 213, 264, 315),
    "aspect_ratios": (_FEW, _MORE, _MORE, _MORE, _FEW, _FEW),
}
SSD300_COCO = SSD300 | {"anchor_sizes": (21, 45, 99, 153, 207, 261, 315)}
SSD512 = _PAPER | {
    "image_size": (512, 512),
    "levels": ("C3", "C4", "C5", "C6", "C7", "C8", "C9"),
    "anchor_sizes": (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    "aspect_ratios": (_FEW, _MORE, _MORE, _MORE, _MORE, _FEW, _FEW),
}


class SSD(Task):
    """A single shot detector: convolutional heads on several levels of a backbone, one anchor grid a level.

    Outputs of the graph: `logits` float32 `[B, A, K + 1]` with background LAST, so that a class id is its own index,
    and `deltas` float32 `[B, A, 4]`. Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1,
    "ignore" bool `[B, M]`}.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, image_size, resize: see `Task`.
        levels: the backbone's levels that carry heads.
        extra_levels: levels added on top by stride-2 convolutions, as in the paper.
        pyramid_channels: a feature pyramid of so many channels merges the levels before the heads, which is what
            makes fine levels of small backbones useful; 0 puts the heads on the levels themselves, as the paper does.
        anchor_scale: s_k of a level of stride 2**n is this many strides.
        anchor_sizes: s_k of every level in pixels and one more, in place of `anchor_scale`.
        aspect_ratios: width / height of the anchors of every level, or a tuple of them for each level.
        steps: pixels from one anchor to the next, for each level, where that is not its stride 2**n.
        clip_anchors: no anchor is wider or higher than the image.
        variances: see `ops.boxes.encode`.
    """

    def __init__(
        self,
        backbone,
        num_classes,
        class_names=(),
        image_size=(320, 320),
        resize="letterbox",
        levels=("C3", "C4", "C5"),
        extra_levels=1,
        pyramid_channels=128,
        anchor_scale=3.0,
        anchor_sizes=None,
        aspect_ratios=(1.0, 2.0, 0.5, 3.0, 1 / 3),
        steps=None,
        clip_anchors=False,
        variances=(0.1, 0.1, 0.2, 0.2),
        **kwargs,
    ):
        images = keras.Input((*image_size, 3), name="images")
        features = take_levels(backbone, images, levels)
        if pyramid_channels:
            features = feature_pyramid(features, pyramid_channels, normalize=True)
        top = int(max(features)[1:])
        for number in range(top + 1, top + 1 + extra_levels):
            below = list(features.values())[-1]
            filters = pyramid_channels or 256
            features[f"P{number}"] = convolution(below, filters, 3, strides=2, normalize=True, name=f"extra{number}")

        grids, logits, deltas = [], [], []
        for i, (level, feature) in enumerate(features.items()):  # feature: [B, h, w, C]
            stride = 2 ** int(level[1:])
            sizes = anchor_sizes[i : i + 2] if anchor_sizes else (anchor_scale * stride, 2 * anchor_scale * stride)
            ratios = aspect_ratios if np.ndim(aspect_ratios[0]) == 0 else aspect_ratios[i]
            shapes = anchor_ops.shapes_of_scales(sizes, ratios)  # [a, 2]
            if clip_anchors:
                shapes = np.minimum(shapes, np.float32(image_size[::-1]))
            grids.append(anchor_ops.grid(feature.shape[1:3], steps[i] if steps else stride, shapes))  # [h*w*a, 4]
            for values, width, head in ((logits, num_classes + 1, "class"), (deltas, 4, "box")):
                x = layers.Conv2D(len(shapes) * width, 3, padding="same", name=f"{head}_head{level[1:]}")(feature)
                values.append(layers.Reshape((-1, width), name=f"{head}_rows{level[1:]}")(x))  # [B, h*w*a, width]
        raw = {
            "logits": layers.Concatenate(axis=1, dtype="float32", name="logits")(logits),  # [B, A, K + 1]
            "deltas": layers.Concatenate(axis=1, dtype="float32", name="deltas")(deltas),  # [B, A, 4]
        }
        super().__init__(
            images,
            raw,
            image_size=image_size,
            num_classes=num_classes,
            class_names=class_names,
            resize=resize,
            **kwargs,
        )
        self.backbone = backbone
        self.anchors = np.concatenate(grids)  # [A, 4]
        self.variances = tuple(variances)
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")

    def targets(self, y):
        """What each anchor should say.

        Returns:
            labels int32 `[B, A]` with `num_classes` for background, deltas float32 `[B, A, 4]`, positive bool
            `[B, A]` and negative bool `[B, A]`; an anchor that is neither teaches nothing.
        """
        anchors = ops.convert_to_tensor(self.anchors)
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")  # [B, M, 4], [B, M]
        index, positive, negative = assign(anchors, y)
        matched = ops.take_along_axis(boxes, index[..., None], axis=1)  # [B, A, 4]
        matched = ops.where(positive[..., None], matched, anchors[None])  # keeps the logarithms of padding finite
        labels = ops.where(positive, ops.take_along_axis(labels, index, axis=1), self.num_classes)
        return labels, box_ops.encode(matched, anchors[None], self.variances), positive, negative

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """MultiBox loss (section 2.2, eq. 1): softmax cross-entropy with the hardest negatives, and smooth L1.

        Both are summed over the batch and divided by its number of positives. An image without objects counts as if
        it had one: it teaches background, and cannot divide by zero.
        """
        labels, deltas, positive, negative = self.targets(y)
        class_loss = softmax_cross_entropy(y_pred["logits"], labels)  # [B, A]
        found = ops.maximum(ops.sum(ops.cast(positive, "int32"), axis=1), 1)  # [B]
        mined = hardest(ops.stop_gradient(class_loss), negative, NEGATIVES_PER_POSITIVE * found)
        taught = ops.cast(ops.logical_or(positive, mined), "float32")
        count = self.over_devices(ops.cast(ops.sum(found), "float32"))
        class_loss = ops.sum(class_loss * taught) / count
        box_loss = ops.sum(smooth_l1(y_pred["deltas"] - deltas), axis=-1) * ops.cast(positive, "float32")
        box_loss = ops.sum(box_loss) / count
        self.class_loss.update_state(class_loss)
        self.box_loss.update_state(box_loss)
        return class_loss + box_loss + sum(self.losses)

    def serving(self, score_threshold=0.01, iou_threshold=0.5, top_k=4000, keep=200) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        The settings of section 3.7, but for `iou_threshold`, 0.45 there, as 0.5 leaves more of what stands close
        together, and for `top_k`, the candidates that enter suppression: they are counted over all classes, where the
        authors' code takes 400 a class.
        """
        raw = self(self.input)
        decode = DecodeDetections(
            self.anchors, self.image_size, self.variances, score_threshold, iou_threshold, top_k, keep, name="decode"
        )
        return keras.Model(self.input, decode(raw["logits"], raw["deltas"]), name=f"{self.name}_serving")

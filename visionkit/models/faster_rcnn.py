"""Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid (arXiv 1612.03144) or on one level."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from visionkit.layers.decode import DecodeRegions
from visionkit.layers.fpn import feature_pyramid
from visionkit.layers.proposals import RPN_VARIANCES, Proposals
from visionkit.layers.roi_align import PerRegion, RoIAlign
from visionkit.models.task import ClassRows, Task, take_levels, takes_every_size
from visionkit.ops import anchors as anchor_ops
from visionkit.ops import boxes as box_ops
from visionkit.ops.losses import binary_cross_entropy, smooth_l1, softmax_cross_entropy
from visionkit.ops.matching import assign, real
from visionkit.ops.sampling import sample
from visionkit.types import Tensor

BETA = 1 / 9  # of the smooth L1 loss, as in Detectron and torchvision; the paper has 1
TINY = 1e-6  # replaces a count of 0 as a divisor; the sum of losses is then 0 too
RPN_RULE: dict[str, Any] = {"positive_iou": 0.7, "negative_iou": 0.3, "ties": True}  # section 3.1.2
ROI_RULE: dict[str, Any] = {"positive_iou": 0.5, "negative_iou": 0.5, "force": False}  # Fast R-CNN, section 2.3
RPN_POSITIVE, ROI_POSITIVE = 0.5, 0.25  # the greatest share of positives in a sample
VARIANCES = (0.1, 0.1, 0.2, 0.2)
# torchvision's second version (after arXiv 2111.11429), also of Mask R-CNN: FasterRCNN(..., **RCNN_V2).
RCNN_V2: dict[str, Any] = {"rpn_convs": 2, "head_convs": 4, "batch_norm": True}
# torchvision's forms for phones, to be used with backbones.rcnn_mobilenet.rcnn_mobilenet_v3.
RCNN_MOBILE: dict[str, Any] = {
    "levels": ("C5", "C5b"),
    "anchor_sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
    "proposal_threshold": 0.05,
}
RCNN_MOBILE_320: dict[str, Any] = RCNN_MOBILE | {"image_size": (320, 640), "proposals": 150}


class FasterRCNN(Task):
    """A two-stage detector: a region proposal network (RPN), and a head that classifies and refines its proposals.

    The functional graph ends with the first stage. Its outputs are the features that the second stage pools from ("P2":
    `[B, H/4, W/4, C]`, ...), "objectness" logits float32 `[B, A]` and "deltas" float32 `[B, A, 4]`. The second stage
    gets other proposals in training than in use, so `compute_loss` and `serving` call it, each with static shapes.

    Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1}, and "ignore" bool `[B, M]` if any. If
    `y` also has "proposals" `[B, P, 4]`, in pixels of the network's input and zero for padding, only the second stage
    is trained, on these proposals: Fast R-CNN (arXiv 1504.08083), which `on_proposals` serves. Freeze the layers named
    "rpn_..." in that case, because nothing trains them.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, resize: see `Task`.
        image_size: (height, width) of the network's input. The papers resize the shorter side to 800 and the longer to
            at most 1333 (600 and 1000 in the first), as a Predictor does with (800, 1344); (800, 1088) suits
            photographs of 4:3 and is quicker.
        levels: the backbone's levels that the second stage pools from; ("C4",) is the first paper's network. A second
            map of the same stride, such as "C5b", gets anchors of its own, but only the first one is pooled from.
        pyramid_channels: channels of the feature pyramid, which also gives the RPN one more level; 0 omits the pyramid.
        anchor_scales: sides of the square anchors of a level, in units of its stride: 8 gives 32 pixels at P2 to 512 at
            P6, (8, 16, 32) gives the paper's 128, 256 and 512 at C4.
        anchor_sizes: sides in pixels, all of them on every level, in place of `anchor_scales`.
        aspect_ratios: width / height of the anchors.
        rpn_convs: 3x3 convolutions of the RPN.
        head_convs: 3x3 convolutions of the head, each with batch normalisation, in place of its first dense layer; 0
            for the papers' head.
        batch_norm: batch normalisation in the pyramid, and in the mask head of Mask R-CNN.
        head_units: width of the head's dense layers.
        head_dropout: probability after each of them; VGG16 has 4096 units and 0.5.
        rpn_samples, roi_samples: anchors and proposals per image that the loss is averaged over.
        train_proposals: in training, proposals per level before suppression and per image after it.
        proposals: the same in use.
        proposal_threshold: the least objectness of a proposal, 0..1.
        seed: of the sampling.
        kwargs: see `Task`.
    """

    class_layers: ClassVar = {"box_logits": ClassRows(background=1), "box_deltas": ClassRows(each=4)}

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (800, 1088),
        resize: str = "letterbox",
        levels: Sequence[str] = ("C2", "C3", "C4", "C5"),
        pyramid_channels: int = 256,
        anchor_scales: Sequence[float] = (8.0,),
        anchor_sizes: Sequence[float] | None = None,
        aspect_ratios: Sequence[float] = (2.0, 1.0, 0.5),
        rpn_convs: int = 1,
        head_convs: int = 0,
        batch_norm: bool = False,
        head_units: int = 1024,
        head_dropout: float = 0.0,
        rpn_samples: int = 256,
        roi_samples: int = 512,
        train_proposals: int = 2000,
        proposals: int = 1000,
        proposal_threshold: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        images = keras.Input((*image_size, 3), name="images")
        features = take_levels(backbone, images, levels)
        scanned = features
        if pyramid_channels:
            features = feature_pyramid(features, pyramid_channels, batch_norm=batch_norm)
            top = max(features)
            coarser = f"P{_number(top) + 1}"
            scanned = features | {coarser: layers.MaxPooling2D(1, 2, name="subsample")(features[top])}
        objectness, deltas = _proposal_head(scanned, len(anchor_sizes or anchor_scales) * len(aspect_ratios), rpn_convs)
        features = {level: feature for level, feature in features.items() if level[1:].isdigit()}  # one of each stride
        super().__init__(
            images,
            {**features, "objectness": objectness, "deltas": deltas},
            image_size=image_size,
            num_classes=num_classes,
            class_names=class_names,
            resize=resize,
            **kwargs,
        )
        self.backbone = backbone
        self.pooled = tuple(features)
        self.rpn_anchors = _anchors(scanned, self.image_size, anchor_scales, anchor_sizes, aspect_ratios)
        self.anchors = np.concatenate(self.rpn_anchors)  # [A, 4]
        head = _box_head(features[self.pooled[0]].shape[-1], num_classes, head_convs, head_units, head_dropout)
        self.box_head = PerRegion(head, name="box_regions")
        self.proposals, self.proposal_threshold = proposals, proposal_threshold
        self.propose = self._proposals(train_proposals)
        self.pool = RoIAlign(7, name="box_pool")
        self.rpn_samples, self.roi_samples = rpn_samples, roi_samples
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rpn_class_loss = keras.metrics.Mean(name="rpn_class_loss")
        self.rpn_box_loss = keras.metrics.Mean(name="rpn_box_loss")
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers of the graph, and the models of the second stage."""
        return super().layers + [part.head for part in vars(self).values() if isinstance(part, PerRegion)]

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The four losses of both stages, summed; each is divided by the number of samples of its stage."""
        losses: dict[str, Tensor] = {}
        if "proposals" not in y:
            losses.update(self.rpn_losses(y, y_pred))
        losses.update(self.roi_losses(self.sample_rois(y, y_pred), y, y_pred, training))
        for name, loss in losses.items():
            getattr(self, name).update_state(loss)
        return sum(losses.values()) + sum(self.losses)

    def anchor_targets(self, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The targets of the first stage's anchors (section 3.1.2).

        Returns:
            matched int32 `[B, A]` (the object's row in `y`), positive and negative bool `[B, A]`, deltas float32
            `[B, A, 4]`; an anchor that is neither positive nor negative is not trained.
        """
        anchors = ops.convert_to_tensor(self.anchors)
        matched, positive, negative = assign(anchors, y, **RPN_RULE)
        return matched, positive, negative, _targets(y["boxes"], matched, positive, anchors, RPN_VARIANCES)

    def region_targets(self, regions: Tensor, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The targets of the second stage for regions `[B, R, 4]` (Fast R-CNN, section 2.3).

        Returns:
            matched int32 `[B, R]` (the object's row in `y`), labels int32 `[B, R]` with `num_classes` for background,
            positive and negative bool `[B, R]`, deltas float32 `[B, R, 4]`.
        """
        matched, positive, negative = assign(regions, y, **ROI_RULE)
        labels = ops.take_along_axis(ops.cast(y["labels"], "int32"), matched, axis=1)
        labels = ops.where(positive, labels, self.num_classes)
        return matched, labels, positive, negative, _targets(y["boxes"], matched, positive, regions, VARIANCES)

    def rpn_losses(self, y: Mapping[str, Tensor], y_pred: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the losses of the first stage (section 3.1.2, eq. 1): "rpn_class_loss", "rpn_box_loss", scalars."""
        _, positive, negative, targets = self.anchor_targets(y)
        index, positive, drawn = self._sample(positive, negative, self.rpn_samples, RPN_POSITIVE)  # [B, S]
        positive, drawn = ops.cast(positive, "float32"), ops.cast(drawn, "float32")
        logits = ops.take_along_axis(y_pred["objectness"], index, axis=1)  # [B, S]
        deltas, targets = (ops.take_along_axis(x, index[..., None], axis=1) for x in (y_pred["deltas"], targets))
        count = ops.maximum(self.over_devices(ops.sum(drawn)), TINY)
        return {
            "rpn_class_loss": ops.sum(binary_cross_entropy(logits, positive) * drawn) / count,
            "rpn_box_loss": ops.sum(smooth_l1(deltas - targets, BETA) * positive[..., None]) / count,
        }

    def sample_rois(self, y: Mapping[str, Tensor], y_pred: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The regions that the second stage is trained on: proposals and the ground truth itself.

        Returns:
            dict of boxes float32 `[B, S, 4]`, matched int32 `[B, S]` (the object's row in `y`), labels int32 `[B, S]`
            with `num_classes` for background, deltas float32 `[B, S, 4]`, positive and drawn float32 `[B, S]` of 0 and
            1; positives come first.
        """
        objects, targets = ops.cast(y["boxes"], "float32"), real(y)
        if "proposals" in y:
            proposals = ops.cast(y["proposals"], "float32")
        else:
            proposals, _ = self.propose(y_pred["objectness"], y_pred["deltas"])
        boxes = ops.concatenate([proposals, ops.where(targets[..., None], objects, 0.0)], axis=1)  # [B, P + M, 4]
        valid = ops.concatenate([ops.any(proposals > 0, axis=-1), targets], axis=1)
        matched, labels, positive, negative, deltas = self.region_targets(boxes, y)
        positive, negative = ops.logical_and(positive, valid), ops.logical_and(negative, valid)
        index, positive, drawn = self._sample(positive, negative, self.roi_samples, ROI_POSITIVE)  # [B, S]
        labels = ops.take_along_axis(labels, index, axis=1)
        return {
            "boxes": ops.stop_gradient(ops.take_along_axis(boxes, index[..., None], axis=1)),
            "matched": ops.take_along_axis(matched, index, axis=1),
            "labels": ops.where(positive, labels, self.num_classes),
            "deltas": ops.stop_gradient(ops.take_along_axis(deltas, index[..., None], axis=1)),
            "positive": ops.cast(positive, "float32"),
            "drawn": ops.cast(drawn, "float32"),
        }

    def roi_losses(
        self, rois: Mapping[str, Tensor], y: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], training: bool
    ) -> dict[str, Tensor]:
        """Returns the losses of the second stage for `rois` `[B, S]` (Fast R-CNN, eq. 1): "class_loss", "box_loss"."""
        output = self.box_head(self.pool(self.features(y_pred), rois["boxes"]), training=training)
        row = ops.minimum(rois["labels"], self.num_classes - 1)[..., None, None]
        deltas = ops.take_along_axis(output["deltas"], row, axis=2)[:, :, 0]  # [B, S, 4]
        drawn = ops.maximum(self.over_devices(ops.sum(rois["drawn"])), TINY)
        return {
            "class_loss": ops.sum(softmax_cross_entropy(output["logits"], rois["labels"]) * rois["drawn"]) / drawn,
            "box_loss": ops.sum(smooth_l1(deltas - rois["deltas"], BETA) * rois["positive"][..., None]) / drawn,
        }

    def features(self, y_pred: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the levels in the graph's output that the second stage pools from: "P2" `[B, H/4, W/4, C]`, ..."""
        return {level: y_pred[level] for level in self.pooled}

    def detections(self, raw: Mapping[str, Tensor], proposals: int | None = None, **options: Any) -> dict[str, Tensor]:
        """Decodes the graph's output `raw` and runs the second stage: boxes, scores and labels, see `serving`."""
        propose = self._proposals(proposals or self.proposals, name="proposals")
        return self.refine(raw, propose(raw["objectness"], raw["deltas"])[0], **options)

    def refine(
        self,
        raw: Mapping[str, Tensor],
        regions: Tensor,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        top_k: int = 4000,
        keep: int = 100,
    ) -> dict[str, Tensor]:
        """Runs the second stage on `regions` `[B, P, 4]`: boxes, scores and labels, see `serving`."""
        output = self.box_head(self.pool(self.features(raw), regions))
        decode = DecodeRegions(
            self.image_size, VARIANCES, score_threshold, iou_threshold, top_k, keep, name="decode_regions"
        )
        return decode(output["logits"], output["deltas"], regions)

    def on_proposals(self, count: int, **options: Any) -> keras.Model:
        """Fast R-CNN: {"images" `[B, H, W, 3]`, "proposals" `[B, count, 4]`} -> the outputs of `serving`.

        Args:
            count: proposals per image, in pixels of the network's input; rows of zeros are padding.
            options: those of `serving` except `proposals`.
        """
        regions = keras.Input((count, 4), name="proposals")
        inputs = {"images": self.input, "proposals": regions}
        return keras.Model(inputs, self.refine(self(self.input), regions, **options), name=f"{self.name}_on_proposals")

    def serving(self, **options: Any) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        Args:
            options: `score_threshold` 0.05, `iou_threshold` 0.5 of the suppression within a class, `proposals` (by
                default the model's), `top_k` 4000 candidates over all classes, `keep` 100.
        """
        return keras.Model(self.input, self.detections(self(self.input), **options), name=f"{self.name}_serving")

    def noise(self, shape: tuple[Any, ...]) -> Tensor:
        """Returns uniform random numbers 0..1, float32 of `shape` `[B, A]`, which decide what is sampled."""
        return keras.random.uniform(shape, seed=self.seed_generator)

    def _proposals(self, count: int, **options: Any) -> Proposals:
        threshold = self.proposal_threshold
        return Proposals(self.rpn_anchors, self.image_size, count, count, score_threshold=threshold, **options)

    def _sample(
        self, positive: Tensor, negative: Tensor, count: int, positive_fraction: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return sample(positive, negative, self.noise(ops.shape(positive)), count, positive_fraction)


def _number(level: str) -> int:
    """5 of "P5", and of "P5b", a second map of its stride."""
    return int(level[1:].rstrip("b"))


def _anchors(
    features: dict[str, Tensor],
    image_size: tuple[int, int],
    scales: Sequence[float],
    sizes: Sequence[float] | None,
    aspect_ratios: Sequence[float],
) -> list[np.ndarray]:
    """The anchors of every level {"P2": `[B, h, w, C]`, ...}, float32 `[h * w * a, 4]` each."""
    grids: list[np.ndarray] = []
    for level, feature in features.items():
        stride = 2 ** _number(level)
        shapes = anchor_ops.shapes_of_ratios(sizes or [scale * stride for scale in scales], aspect_ratios)
        height, width = feature.shape[1:3]
        # If the stride does not divide the image's size, torchvision spaces the anchors by this quotient.
        spacing = (image_size[0] // height, image_size[1] // width)
        grids.append(anchor_ops.grid((height, width), spacing, shapes, offset=0.0))
    return grids


def _proposal_head(features: dict[str, Tensor], anchors: int, convs: int) -> tuple[Tensor, Tensor]:
    """Section 3.1: 3x3 convolutions, one in the paper, and two sibling 1x1 convolutions, shared by all levels.

    Args:
        features: {"P2": `[B, h, w, C]`, ...}.
        anchors: per cell of a level.
        convs: how many 3x3 convolutions.

    Returns:
        objectness float32 `[B, A]` and deltas float32 `[B, A, 4]`, A over all levels in order.
    """
    channels = next(iter(features.values())).shape[-1]

    def convolution(filters: int, size: int, name: str, activation: str | None = None) -> layers.Conv2D:
        normal: Any = keras.initializers.RandomNormal(stddev=0.01)  # one per layer, so that each draws other values
        return layers.Conv2D(filters, size, padding="same", activation=activation, kernel_initializer=normal, name=name)

    names = ["rpn_conv", *(f"rpn_conv{i}" for i in range(2, convs + 1))]
    shared = [convolution(channels, 3, name, activation="relu") for name in names]
    score = convolution(anchors, 1, "rpn_logits")
    regress = convolution(4 * anchors, 1, "rpn_deltas")
    objectness: list[Tensor] = []
    deltas: list[Tensor] = []
    for level, feature in features.items():
        x = feature
        for layer in shared:
            x = layer(x)  # [B, h, w, C]
        objectness.append(layers.Reshape((-1,), name=f"objectness_{level}")(score(x)))  # [B, h*w*a]
        deltas.append(layers.Reshape((-1, 4), name=f"deltas_{level}")(regress(x)))  # [B, h*w*a, 4]
    return (
        layers.Concatenate(axis=1, dtype="float32", name="objectness")(objectness),
        layers.Concatenate(axis=1, dtype="float32", name="deltas")(deltas),
    )


def _box_head(channels: int, num_classes: int, convs: int, units: int, dropout: float) -> keras.Model:
    """Fast R-CNN's head: pooled features `[N, 7, 7, C]` -> logits `[N, K + 1]`, background last, deltas `[N, K, 4]`."""
    inputs = x = keras.Input((7, 7, channels), name="pooled")
    for i in range(1, convs + 1):
        x = normed_convolution(x, channels, f"box_conv{i}")
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6",) if convs else ("fc6", "fc7"):
        x = layers.Dense(units, activation="relu", name=name)(x)  # [N, units]
        if dropout:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    wide: Any = keras.initializers.RandomNormal(stddev=0.01)
    narrow: Any = keras.initializers.RandomNormal(stddev=0.001)
    deltas = layers.Dense(num_classes * 4, kernel_initializer=narrow, dtype="float32", name="box_deltas")(x)
    outputs = {
        "logits": layers.Dense(num_classes + 1, kernel_initializer=wide, dtype="float32", name="box_logits")(x),
        "deltas": layers.Reshape((num_classes, 4), dtype="float32", name="box_rows")(deltas),
    }
    return keras.Model(inputs, outputs, name="box_head")


def normed_convolution(x: Tensor, filters: int, name: str) -> Tensor:
    """A 3x3 convolution of a head with batch normalisation and ReLU."""
    he = "he_normal"  # a name, from which each layer makes an initializer of its own
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=he, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _targets(boxes: Tensor, matched: Tensor, positive: Tensor, anchors: Tensor, variances: Sequence[float]) -> Tensor:
    """Deltas `[B, S, 4]` from `anchors` to the `matched` rows of `boxes`; zero where not positive."""
    boxes = ops.take_along_axis(ops.cast(boxes, "float32"), matched[..., None], axis=1)  # [B, S, 4]
    # Where not positive, a unit box is encoded by itself, which gives zeros; padding has no size to divide by.
    unit, mask = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]), positive[..., None]
    return box_ops.encode(ops.where(mask, boxes, unit), ops.where(mask, anchors, unit), variances)

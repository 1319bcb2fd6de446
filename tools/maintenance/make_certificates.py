"""Maintenance: writes visionkit/certify/records/NAME.json, the course of 30 training steps of torchvision's models.

Run it in an environment with torch and torchvision (Keras is not needed):

    python tools/maintenance/make_certificates.py [NAME ...]
    python tools/maintenance/make_certificates.py spread NAME [...]    how chaotic a course is, see `Course.spread`

The models are torchvision's own classes on a ResNet of four blocks with narrow pyramids, so that 30 steps take seconds.
Backbones of detectors have frozen batch normalisation, as torchvision trains them. A record has every loss of every
step, and for each tensor its shape and its norm after 5 and after 30 steps. visionkit/certify/courses.py takes the same
steps with our models, and tests/certify compares them. To accept a new value, run this again and say in the commit
message why the old one was wrong: it is torchvision's answer, not ours.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import detection, mobilenetv3, resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import (
    anchor_utils,
    backbone_utils,
    faster_rcnn,
    keypoint_rcnn,
    mask_rcnn,
    retinanet,
    roi_heads,
)
from torchvision.models.segmentation import deeplabv3, fcn, lraspp
from torchvision.ops import FrozenBatchNorm2d, feature_pyramid_network, roi_align

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from visionkit.certify import scenes  # noqa: E402

NORMS_AFTER = (5, scenes.STEPS)
K = scenes.NUM_CLASSES
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def trunk(dilated=False, norm=FrozenBatchNorm2d):
    return resnet.ResNet(
        resnet.Bottleneck, [1, 1, 1, 1], norm_layer=norm, replace_stride_with_dilation=[False, dilated, dilated]
    )


def pyramid(first, extra=None):
    stages = range(first - 1, 5)
    levels = {f"layer{n}": str(i) for i, n in enumerate(stages)}
    widths = [128 * 2**n for n in stages]
    return backbone_utils.BackboneWithFPN(trunk(), levels, widths, scenes.CHANNELS, extra)


def one_stage(kind, course, **options):
    sides = {"min_size": min(course.image_size), "max_size": max(course.image_size)}
    c = scenes.CHANNELS
    source = 2048 if options.pop("p6_of_backbone", False) else c
    extra = feature_pyramid_network.LastLevelP6P7(source, c)
    return kind(pyramid(3, extra), K + 1, **sides, **options)


def retinanet_v2(course):
    head = retinanet.RetinaNetHead(scenes.CHANNELS, 9, K + 1, norm_layer=functools.partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"
    return one_stage(detection.RetinaNet, course, head=head, p6_of_backbone=True)


def two_stage(kind, course, backbone=None, **options):
    limits = {f"rpn_{when}_nms_top_n_train": scenes.PROPOSALS for when in ("pre", "post")}
    c, units = scenes.CHANNELS, 2 * scenes.CHANNELS
    model = kind(
        backbone or pyramid(2),
        min_size=min(course.image_size),
        max_size=max(course.image_size),
        rpn_batch_size_per_image=scenes.RPN_SAMPLES,
        box_batch_size_per_image=10**6,  # all there are
        box_head=faster_rcnn.TwoMLPHead(c * 7 * 7, units),
        box_predictor=faster_rcnn.FastRCNNPredictor(units, K + 1),
        **limits,
        **options,
    )
    model.rpn.fg_bg_sampler = Sampler()
    return model


def masks(course):
    """Its mask targets are cut as ours are, without an offset and at 2 x 2 places of a cell: a known difference."""
    roi_heads.project_masks_on_boxes = lambda maps, boxes, rows, size: roi_align(
        maps[:, None].to(boxes), torch.cat([rows.to(boxes)[:, None], boxes], 1), size, 1.0, 2, aligned=True
    )[:, 0]
    c = scenes.CHANNELS
    head = mask_rcnn.MaskRCNNHeads(c, (c,) * 4, 1)
    predictor = mask_rcnn.MaskRCNNPredictor(c, c, K + 1)
    return two_stage(detection.MaskRCNN, course, mask_head=head, mask_predictor=predictor)


def keypoints(course):
    c = scenes.CHANNELS
    head = keypoint_rcnn.KeypointRCNNHeads(c, (c,) * 8)
    predictor = keypoint_rcnn.KeypointRCNNPredictor(c, len(scenes.KEYPOINTS))
    return two_stage(detection.KeypointRCNN, course, keypoint_head=head, keypoint_predictor=predictor)


def mobile(course):
    body = mobilenetv3.mobilenet_v3_large(norm_layer=FrozenBatchNorm2d).features
    body = backbone_utils.BackboneWithFPN(body, {"13": "0", "16": "1"}, [160, 960], scenes.CHANNELS)
    anchors = anchor_utils.AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    options = {"rpn_anchor_generator": anchors, "rpn_score_thresh": 0.05}
    return two_stage(detection.FasterRCNN, course, body, **options)


class Sampler:
    """torchvision's rule (as many positives as there are, up to half), with noise that is known on both sides."""

    def __call__(self, matched):
        chosen = []
        for labels in matched:
            noise = torch.from_numpy(scenes.sampling_noise(len(labels)))
            positive, negative = (torch.where(test)[0] for test in (labels >= 1, labels == 0))
            positive = positive[noise[positive].argsort(descending=True)][: scenes.RPN_SAMPLES // 2]
            rest = scenes.RPN_SAMPLES - len(positive)
            negative = negative[noise[negative].argsort(descending=True)][:rest]
            chosen.append([torch.zeros(len(labels), dtype=torch.uint8) for _ in range(2)])
            for mask, index in zip(chosen[-1], (positive, negative), strict=True):
                mask[index] = 1
        return tuple(list(masks) for masks in zip(*chosen, strict=True))


def ssd(course, lite=False):
    body = IntermediateLayerGetter(trunk(), {"layer2": "0", "layer3": "1", "layer4": "2"})
    body.out_channels = [512, 1024, 2048]
    anchors = anchor_utils.DefaultBoxGenerator([[2], [2, 3], [2, 3]], scales=[0.2, 0.4, 0.7, 0.95], steps=[8, 16, 32])
    head = None
    if lite:
        norm = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
        head = detection.ssdlite.SSDLiteHead(body.out_channels, anchors.num_anchors_per_location(), K + 1, norm)
    return detection.ssd.SSD(body, anchors, course.image_size[::-1], K + 1, head=head)


def segmenter(kind):
    """torchvision's FCN, DeepLabV3 (narrower) or LR-ASPP."""
    levels = {"layer1": "low", "layer4": "high"} if kind == "lraspp" else {"layer4": "out", "layer3": "aux"}
    body = IntermediateLayerGetter(trunk(True, nn.BatchNorm2d), levels)
    if kind == "lraspp":
        return lraspp.LRASPP(body, 256, 2048, K + 1)
    auxiliary = fcn.FCNHead(1024, K + 1)
    if kind == "fcn":
        return fcn.FCN(body, fcn.FCNHead(2048, K + 1), auxiliary)
    c = scenes.CHANNELS
    head = deeplabv3.DeepLabHead(2048, K + 1)
    head[0] = deeplabv3.ASPP(2048, (2, 4, 6), c)
    head[1], head[2], head[4] = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c), nn.Conv2d(c, K + 1, 1)
    return deeplabv3.DeepLabV3(body, head, auxiliary)


class Segmenter(nn.Module):
    """A segmenter with the loss of torchvision's training script, and without dropout, which draws its own numbers."""

    def __init__(self, kind):
        super().__init__()
        self.model = segmenter(kind)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, images, targets):
        maps = self.model((torch.stack(images) - MEAN[:, None, None]) / STD[:, None, None])
        labels = torch.stack([target["segmentation"] for target in targets])
        losses = {key: nn.functional.cross_entropy(logits, labels, ignore_index=255) for key, logits in maps.items()}
        return {"loss": losses["out"] + 0.5 * losses.get("aux", 0)}


BUILD = {
    "ssd": ssd,
    "ssdlite": functools.partial(ssd, lite=True),
    "retinanet": functools.partial(one_stage, detection.RetinaNet),
    "retinanet_v2": retinanet_v2,
    "fcos": functools.partial(one_stage, detection.FCOS),
    "faster_rcnn": functools.partial(two_stage, detection.FasterRCNN),
    "faster_rcnn_mobile": mobile,
    "mask_rcnn": masks,
    "keypoint_rcnn": keypoints,
    **{kind: lambda course, kind=kind: Segmenter(kind) for kind in ("fcn", "deeplabv3", "lraspp")},
}


def train(name, nudge=0.0, seed=0):
    """The record of a course; `nudge` is the greatest relative change of each weight of a kernel before it begins."""
    course = scenes.COURSES[name]
    model = BUILD[name](course).train()
    begin(model)
    random = torch.Generator().manual_seed(seed)
    for value in state(model).values():
        if value.ndim > 1:
            value.mul_(1 + nudge * (2 * torch.rand(value.shape, generator=random) - 1))
    optimizer = torch.optim.SGD(model.parameters(), course.lr, scenes.MOMENTUM)
    record = {"losses": {}, "norms_after": NORMS_AFTER, "tensors": {}}
    for step in range(scenes.STEPS):
        losses = model(*inputs(course, step))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        for key, value in losses.items():
            record["losses"].setdefault(key, []).append(round(float(value.detach()), 7))
        if step + 1 in NORMS_AFTER:
            for key, value in state(model).items():
                entry = record["tensors"].setdefault(key, {"shape": list(value.shape), "norms": []})
                entry["norms"].append(float(f"{real_rows(key, value).norm():.7g}"))
    return record


def make(name):
    record = train(name)
    file = ROOT / "visionkit" / "certify" / "records" / f"{name}.json"
    file.write_text(json.dumps(record) + "\n")
    print(
        f"{name}: {file.stat().st_size >> 10} KB,", {k: (v[0], v[-1]) for k, v in record["losses"].items()}, flush=True
    )


def spread(name):
    """Prints how far torchvision ends from itself when its start is changed by 1e-7: `Course.spread`."""
    whole = train(name)
    for seed in (0, 1):
        other = train(name, 1e-7, seed)
        norms = {
            key: abs(entry["norms"][-1] / whole["tensors"][key]["norms"][-1] - 1)
            for key, entry in other["tensors"].items()
            if "running" not in key and entry["norms"][-1] > 1e-5
        }
        losses = {key: abs(values[-1] / whole["losses"][key][-1] - 1) for key, values in other["losses"].items()}
        for found in (losses, norms):
            worst = max(found, key=found.get)
            print(f"{name}, seed {seed}: {worst} by {found[worst]:.1e}", flush=True)


def begin(model):
    """Drawn values where `is_drawn` says so. Other tensors keep constants; random biases, torch's default, become 0."""
    with torch.no_grad():
        for name, value in state(model).items():
            shape = tuple(value.shape)
            if scenes.is_drawn(name, shape):
                value.copy_(torch.from_numpy(scenes.drawn(name, shape)))
            elif value.min() != value.max():
                value.zero_()
            if name == "head.classification_head.cls_logits.bias":
                value.view(-1, K + 1)[:, 0] = -100.0  # torchvision's sigmoid for background, which we do not have


def state(model):
    """The tensors of a model by the names of torchvision's checkpoints."""
    model = getattr(model, "model", model)
    return {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}


def real_rows(name, value):
    """The part of a tensor that stands for classes: its rows for background, which nothing trains, are left out."""
    if "classification_head.cls_logits" in name:
        return value.view(-1, K + 1, *value.shape[1:])[:, 1:]
    if "mask_fcn_logits" in name:
        return value[1:]
    if "bbox_pred" in name and "roi_heads" in name:
        return value.view(K + 1, 4, *value.shape[1:])[1:]
    return value


def inputs(course, step):
    images, y = scenes.batch(course, step)
    targets = []
    for i, labels in enumerate(y["labels"]):
        real = labels >= 0
        target = {key: y[key][i][real] for key in ("boxes", "masks", "keypoints")}
        target["labels"] = 1 + labels[real].astype(np.int64)
        target["segmentation"] = y["segmentation"][i].astype(np.int64)
        targets.append({key: torch.from_numpy(value) for key, value in target.items()})
    return list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) / 255), targets


if __name__ == "__main__":
    if sys.argv[1:2] == ["spread"]:
        for certificate in sys.argv[2:]:
            spread(certificate)
    else:
        for certificate in sys.argv[1:] or scenes.COURSES:
            make(certificate)

"""Maintenance: writes visionkit/certify/records/NAME.json, the course of 30 training steps of torchvision's models.

Run it in an environment with torch and torchvision (Keras is not needed):

    python tools/maintenance/make_certificates.py [NAME ...]

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
from torchvision.models import detection, resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import anchor_utils, backbone_utils, faster_rcnn, retinanet
from torchvision.models.segmentation import fcn
from torchvision.ops import FrozenBatchNorm2d, feature_pyramid_network

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


def two_stage(kind, course, **options):
    limits = {f"rpn_{when}_nms_top_n_train": scenes.PROPOSALS for when in ("pre", "post")}
    c, units = scenes.CHANNELS, 2 * scenes.CHANNELS
    model = kind(
        pyramid(2),
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


def ssd(course):
    body = IntermediateLayerGetter(trunk(), {"layer2": "0", "layer3": "1", "layer4": "2"})
    body.out_channels = [512, 1024, 2048]
    anchors = anchor_utils.DefaultBoxGenerator([[2], [2, 3], [2, 3]], scales=[0.2, 0.4, 0.7, 0.95], steps=[8, 16, 32])
    return detection.ssd.SSD(body, anchors, course.image_size[::-1], K + 1)


class Segmenter(nn.Module):
    """torchvision's FCN with the loss of its training script, and without dropout, which draws its own numbers."""

    def __init__(self):
        super().__init__()
        body = IntermediateLayerGetter(trunk(True, nn.BatchNorm2d), {"layer4": "out", "layer3": "aux"})
        self.model = fcn.FCN(body, fcn.FCNHead(2048, K + 1), fcn.FCNHead(1024, K + 1))
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, images, targets):
        maps = self.model((torch.stack(images) - MEAN[:, None, None]) / STD[:, None, None])
        labels = torch.stack([target["segmentation"] for target in targets])
        losses = {key: nn.functional.cross_entropy(logits, labels, ignore_index=255) for key, logits in maps.items()}
        return {"loss": losses["out"] + 0.5 * losses["aux"]}


BUILD = {
    "ssd": ssd,
    "retinanet": functools.partial(one_stage, detection.RetinaNet),
    "retinanet_v2": retinanet_v2,
    "fcos": functools.partial(one_stage, detection.FCOS),
    "faster_rcnn": functools.partial(two_stage, detection.FasterRCNN),
    "fcn": lambda course: Segmenter(),
}


def make(name):
    course = scenes.COURSES[name]
    model = BUILD[name](course).train()
    begin(model)
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
    file = ROOT / "visionkit" / "certify" / "records" / f"{name}.json"
    file.write_text(json.dumps(record) + "\n")
    print(
        f"{name}: {file.stat().st_size >> 10} KB,", {k: (v[0], v[-1]) for k, v in record["losses"].items()}, flush=True
    )


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
    if "bbox_pred" in name and "roi_heads" in name:
        return value.view(K + 1, 4, *value.shape[1:])[1:]
    return value


def inputs(course, step):
    images, y = scenes.batch(course, step)
    targets = []
    for boxes, labels, segmentation in zip(*(y[k] for k in ("boxes", "labels", "segmentation")), strict=True):
        real = labels >= 0
        target = {"boxes": boxes[real], "labels": 1 + labels[real].astype(np.int64)}
        target["segmentation"] = segmentation.astype(np.int64)
        targets.append({key: torch.from_numpy(value) for key, value in target.items()})
    return list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) / 255), targets


if __name__ == "__main__":
    for certificate in sys.argv[1:] or scenes.COURSES:
        make(certificate)

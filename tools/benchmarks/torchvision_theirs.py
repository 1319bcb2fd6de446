"""torchvision's side of bench_torchvision.py; it runs in an environment with torch and torchvision."""

import torch
from torch.nn.functional import cross_entropy
from torchvision import models
from torchvision.models import detection, segmentation
from torchvision.ops import batched_nms
from torchvision_cases import (
    CASES,
    CLASSIFIERS,
    NMS,
    Call,
    candidates,
    class_maps,
    drawn_detector_tensor,
    drawn_tensor,
    now,
    objects,
    scene,
    timed,
)

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def theirs(case: str, threads: int) -> dict[str, Call]:
    """Everything that can be measured of a case, by name, as `ours` has it."""
    torch.set_num_threads(threads)
    if case == "nms":
        return suppression()
    if case in CLASSIFIERS:
        return classifier(case)
    if case.startswith("fcn"):
        return segmenter(case)
    return detector(case)


def suppression():
    boxes, scores = map(torch.from_numpy, candidates())

    def suppress():  # as SSD.postprocess_detections does
        best, index = zip(*(s[s > NMS["score_threshold"]].topk(NMS["top_k"]) for s in scores.T), strict=True)
        index = [torch.where(s > NMS["score_threshold"])[0][i] for s, i in zip(scores.T, index, strict=True)]
        labels = torch.arange(20).repeat_interleave(NMS["top_k"])
        batched_nms(boxes[torch.cat(index)], torch.cat(best), labels, NMS["iou_threshold"])[: NMS["keep"]]

    return {"batch 1": timed(suppress)}


def classifier(case):
    model = getattr(models, case)(weights=None).eval()

    def infer(x):
        with torch.inference_mode():
            model(normalised(x)).softmax(dim=1).numpy()

    calls = {}
    for batch in CASES[case][1]:
        x = images(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
    return calls


def segmenter(case):
    """Training as in torchvision's references/segmentation/train.py: both maps, the auxiliary one half."""
    _, batches, train_batch = CASES[case]
    model = getattr(segmentation, case)(weights=None, weights_backbone=None, aux_loss=True)
    draw_weights(model, drawn_tensor)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)

    def infer(x):
        model.eval()
        # Without its auxiliary head, as it is used; with weights="DEFAULT" torchvision keeps the head and computes it.
        head, model.aux_classifier = model.aux_classifier, None
        with torch.inference_mode():
            model(normalised(x))["out"].numpy()
        model.aux_classifier = head

    calls = {}
    for batch in batches:
        x = images(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
    x, labels = images(case, train_batch), torch.from_numpy(class_maps(case, train_batch)).long()

    def step():
        model.train()
        optimizer.zero_grad()
        maps = model(normalised(x))
        losses = {key: cross_entropy(values, labels, ignore_index=255) for key, values in maps.items()}
        (losses["out"] + 0.5 * losses["aux"]).backward()
        optimizer.step()

    calls[f"training step, batch {train_batch}"] = timed(step)
    return calls


def detector(case):
    size, batches, train_batch = CASES[case]
    sizes = {} if case.startswith("ssd") else {"min_size": min(size), "max_size": max(size)}
    model = getattr(detection, case)(weights=None, weights_backbone=None, **sizes)
    draw_weights(model, drawn_detector_tensor)
    seconds = watch_post_processing(model)

    def infer(x):
        model.eval()
        with torch.inference_mode():
            return model(x)

    def post_processing(x):
        seconds.clear()
        infer(x)
        return sum(seconds).tolist()

    calls = {}
    for batch in batches:
        x = list(images(case, batch))
        calls[f"inference, batch {batch}"] = timed(lambda x=x: infer(x))
        calls[f"post-processing, batch {batch}"] = lambda x=x: post_processing(x)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-5, momentum=0.9)
    boxes, labels = map(torch.from_numpy, objects(case, train_batch))
    y = [{"boxes": b, "labels": k.long() + 1} for b, k in zip(boxes, labels, strict=True)]
    x = list(images(case, train_batch))

    def step():
        model.train()
        optimizer.zero_grad()
        sum(model(x, y).values()).backward()
        optimizer.step()

    calls[f"training step, batch {train_batch}"] = timed(step)
    return calls


def watch_post_processing(model):
    """A list to which each call of the model adds the seconds that its post-processing takes."""
    seconds = []

    def watch(owner, name):
        method = getattr(owner, name)

        def watched(*args):
            start = now()
            result = method(*args)
            seconds.append(now() - start)
            return result

        setattr(owner, name, watched)

    if hasattr(model, "rpn"):
        watch(model.rpn, "filter_proposals")
        watch(model.roi_heads, "postprocess_detections")
    else:
        watch(model, "postprocess_detections")
    return seconds


def draw_weights(model, draw):
    drawn = {key: torch.from_numpy(draw(key, tuple(value.shape))) for key, value in model.state_dict().items()}
    drawn = {key: value for key, value in drawn.items() if not key.endswith("num_batches_tracked")}
    model.load_state_dict(drawn, strict=False)


def images(case, batch):
    """float32 `[batch, 3, H, W]`, 0..1"""
    return torch.from_numpy(scene(case, batch).transpose(0, 3, 1, 2).copy()) / 255


def normalised(x):
    """As a part of the call: our network does it too."""
    return (x - MEAN[:, None, None]) / STD[:, None, None]

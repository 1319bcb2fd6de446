"""Maintenance: writes tests/golden/detectors/NAME.npz, the outputs of torchvision's detectors with random weights.

Run it in an environment with torch and torchvision (visionkit is not needed):

    python tools/maintenance/make_detector_goldens.py [NAME ...]

A golden file has the names and shapes of the checkpoint's tensors; for two images of different shapes, 400 places of
each raw output with its range (in our order of classes, see `ours`), the second stage's outputs for 16 proposals, three
masks or the keypoints of 40 detections, and the final detections; and the training losses of one batch.
tests/models/test_detector_goldens.py compares them with ours. To accept a new value, run this again and say in the
commit message why the old one was wrong: it is torchvision's answer, not ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torchvision.models import detection

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.drawn import (  # noqa: E402
    COCO_GAPS,
    PROPOSALS,
    SCENES,
    drawn_detector_tensor,
    drawn_places,
    drawn_scene,
    drawn_training_batch,
    is_two_stage,
    num_classes,
)

CLASSES = [n for n in range(1, 91) if n not in COCO_GAPS]


def classes(name):
    """The numbers in torchvision of our classes."""
    return CLASSES if num_classes(name) == 80 else [1]


def ours(rows, name, background=True):
    """`[..., 91]` in torchvision's order -> 80 classes, background last; of Keypoint R-CNN `[..., 2]` -> 1 class."""
    return rows[..., [*classes(name), 0] if background else classes(name)]


def make(name):
    model, state = drawn_model(name)
    golden = {"tensors": np.frombuffer(json.dumps({k: list(v.shape) for k, v in state.items()}).encode(), np.uint8)}
    seen = watch(model, name)
    for i, size in enumerate(SCENES[name]):
        if not name.startswith("ssd"):  # no resizing: the image has the network's size
            model.transform.min_size, model.transform.max_size = (min(size),), max(size)
        image = torch.from_numpy(np.ascontiguousarray(drawn_scene(size)[0].transpose(2, 0, 1))) / 255
        with torch.no_grad():
            result = {key: value.numpy() for key, value in model([image])[0].items()}
        for key, values in raw_outputs(name, seen).items():
            golden[f"{key}_{i}"] = values.ravel()[drawn_places(f"{key}_{i}", values.size, 400)]
            golden[f"{key}_{i}_range"] = np.ptp(values)
        if "rpn" in seen:
            golden[f"proposals_{i}"] = seen["rpn"][0][0][:16].numpy()
        for key in ("boxes", "scores"):
            golden[f"found_{key}_{i}"] = result[key]
        golden[f"found_labels_{i}"] = np.array([classes(name).index(n) for n in result["labels"]], np.int32)
        if "keypoints" in result:
            result["keypoints"][..., 2] = result["keypoints_scores"]  # in place of 1
            golden[f"found_keypoints_{i}"] = result["keypoints"][:40]
        if "masks" in result:
            golden[f"found_masks_{i}"] = first_masks(model, seen, result)
        print(name, size, len(result["scores"]), "detections, scores", result["scores"][[0, -1]])
    losses = training_losses(model, name)
    golden["loss_names"] = np.array(list(losses))
    golden["losses"] = np.array(list(losses.values()), np.float64)
    print(name, losses)
    file = ROOT / "tests" / "golden" / "detectors" / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(file, **golden)
    print(f"{file.name}: {file.stat().st_size >> 10} KB")


def drawn_model(name):
    """torchvision's detector with drawn weights; and its tensors as torchvision drew them, by name."""
    limits = {}
    if is_two_stage(name):
        for when in ("pre", "post"):
            for use in ("train",) if "_320_" in name else ("test", "train"):  # that one has its own
                limits[f"rpn_{when}_nms_top_n_{use}"] = PROPOSALS
        limits["rpn_batch_size_per_image"] = limits["box_batch_size_per_image"] = 10**6  # sampling takes all there are
    model = getattr(detection, name)(weights=None, weights_backbone=None, **limits).eval()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    drawn = {k: torch.from_numpy(drawn_detector_tensor(k, tuple(v.shape))) for k, v in state.items()}
    model.load_state_dict(drawn, strict=False)
    return model, state


def watch(model, name):
    """A dict that holds the latest output of each stage of the model after every call."""
    if is_two_stage(name):
        box = model.roi_heads.box_predictor
        stages = {"rpn": model.rpn, "head": model.rpn.head, "box": box, "features": model.backbone}
    else:
        stages = {"head": model.head}
    seen = {}
    for key, module in stages.items():
        module.register_forward_hook(lambda _, __, out, key=key: seen.__setitem__(key, out))
    return seen


def raw_outputs(name, seen):
    if not is_two_stage(name):
        head = {key: value[0].numpy() for key, value in seen["head"].items()}
        logits = ours(head["cls_logits"], name, background=name.startswith("ssd"))
        if "bbox_ctrness" not in head:
            return {"logits": logits, "deltas": head["bbox_regression"]}
        return {"logits": logits, "distances": head["bbox_regression"], "centerness": head["bbox_ctrness"][:, 0]}

    def rows(maps, values):  # [1, a * values, h, w] a level -> [A, values]
        maps = [m[0].unflatten(0, (-1, values)).permute(2, 3, 0, 1).reshape(-1, values) for m in maps]
        return torch.cat(maps).numpy()

    logits, deltas = (out[:16].numpy() for out in seen["box"])
    first = 5 if "mobilenet" in name else 2  # MobileNet's second map, which nothing is pooled from, is left out
    levels = {f"P{int(k) + first}": m for k, m in seen["features"].items() if k != "pool" and int(k) + first < 6}
    features = {level: m[0].permute(1, 2, 0).numpy() for level, m in levels.items()}
    return features | {
        "objectness": rows(seen["head"][0], 1)[:, 0],
        "deltas": rows(seen["head"][1], 4),
        "box_logits": ours(logits, name),
        "box_deltas": deltas.reshape(len(deltas), -1, 4)[:, classes(name)],
    }


def training_losses(model, name):
    """{torchvision's name: value}, with the normalisation layers as in use: ours are called so too."""
    images, y = drawn_training_batch(name)
    targets = []
    for boxes, labels, masks, keypoints in zip(*(y[k] for k in ("boxes", "labels", "masks", "keypoints")), strict=True):
        real = labels >= 0
        target = {"labels": torch.tensor([classes(name)[k] for k in labels[real]])}
        for key, value in (("boxes", boxes), ("masks", masks), ("keypoints", keypoints)):
            target[key] = torch.from_numpy(value[real])
        targets.append(target)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    if not name.startswith("ssd"):
        size = images.shape[1:3]
        model.transform.min_size, model.transform.max_size = (min(size),), max(size)
    with torch.no_grad():
        losses = model(list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) / 255), targets)
    return {key: float(value) for key, value in losses.items()}


def first_masks(model, seen, result, count=3):
    """Probabilities within the box, before torchvision pastes them: `[count, 28, 28]`."""
    heads, size = model.roi_heads, tuple(seen["features"]["0"].shape[2:])
    boxes = [torch.from_numpy(result["boxes"][:count])]
    with torch.no_grad():
        pooled = heads.mask_roi_pool(seen["features"], boxes, [(size[0] * 4, size[1] * 4)])
        logits = heads.mask_predictor(heads.mask_head(pooled))
    labels = result["labels"][:count]
    return logits[torch.arange(len(labels)), torch.from_numpy(labels)].sigmoid().numpy().astype(np.float16)


if __name__ == "__main__":
    for architecture in sys.argv[1:] or SCENES:
        make(architecture)

"""Maintenance: writes tests/golden/NAME.npz, the outputs of torchvision's networks with random weights.

Run it in an environment with torch and torchvision (visionkit is not needed):

    python tools/maintenance/make_goldens.py [NAME ...]

A golden file has the names and shapes of the checkpoint's tensors, the number of parameters, the logits, and 1000
places of every level with the level's shape and range. tests/backbones/test_goldens.py compares them with ours. To
accept a new value, run this again and say in the commit message why the old one was wrong: it is torchvision's answer,
not ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.drawn import drawn_image, drawn_places, drawn_tensor  # noqa: E402

SIZES = {"alexnet": (259, 300)}  # 7x8 before the head: the one that averages down to the paper's size
NAMES = (
    *("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "googlenet"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("densenet121", "densenet161", "densenet169", "densenet201"),
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "convnext_tiny", "convnext_small"),
)
FEATURES = {  # the number of the module of `features` whose output is a level, for C1 (ConvNeXt: C2) and those above
    "mobilenet_v2": (1, 3, 6, 13, 18),
    "mobilenet_v3_large": (1, 3, 6, 12, 16),
    "mobilenet_v3_small": (0, 1, 3, 8, 12),
    "convnext_tiny": (1, 3, 5, 7),
    "convnext_small": (1, 3, 5, 7),
}


def levels_of(name, model):
    """{level: the torch module whose output it is}."""
    if name.startswith("resnet"):
        return {"C1": model.relu, **{f"C{n + 1}": getattr(model, f"layer{n}") for n in (1, 2, 3, 4)}}
    if name.startswith("densenet"):
        blocks = {f"C{n + 1}": getattr(model.features, f"denseblock{n}") for n in (1, 2, 3)}
        return {"C1": model.features.relu0, **blocks, "C5": model.features.norm5}
    if name in FEATURES:
        lowest = 6 - len(FEATURES[name])
        return {f"C{n}": model.features[module] for n, module in enumerate(FEATURES[name], lowest)}
    if name == "googlenet":
        modules = (model.conv1, model.conv3, model.inception3b, model.inception4e, model.inception5b)
        return {f"C{n}": module for n, module in enumerate(modules, 1)}
    pools = [i for i, module in enumerate(model.features) if isinstance(module, torch.nn.MaxPool2d)]
    lowest = 2 if name == "alexnet" else 0
    levels = {f"C{lowest + k}": model.features[i - 1] for k, i in enumerate(pools)}
    return {**levels, "C5": model.features[pools[-1]]}


def make(name):
    options = {"aux_logits": False, "transform_input": True, "init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    drawn = {k: torch.from_numpy(drawn_tensor(k, tuple(v.shape))) for k, v in state.items()}
    model.load_state_dict(drawn, strict=False)
    levels = {}
    for level, module in levels_of(name, model).items():
        module.register_forward_hook(lambda _, __, out, level=level: levels.__setitem__(level, out.clone()))
    size = SIZES.get(name, (75, 91))
    image = torch.from_numpy(drawn_image(size)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = model((image - mean[:, None, None]) / std[:, None, None])[0]
    if name.startswith("densenet"):
        levels["C5"] = levels["C5"].relu()  # torchvision rectifies outside of a module
    golden = {
        "tensors": np.frombuffer(json.dumps({k: list(v.shape) for k, v in state.items()}).encode(), np.uint8),
        "parameters": sum(p.numel() for p in model.parameters()),
        "image_size": size,
        "logits": logits.numpy(),
    }
    for level, out in levels.items():
        values = out[0].permute(1, 2, 0).numpy()  # [h, w, C], as ours
        golden[f"{level}_shape"] = values.shape
        golden[f"{level}_range"] = values.max() - values.min()
        golden[level] = values.ravel()[drawn_places(level, values.size)]
    file = ROOT / "tests" / "golden" / f"{name}.npz"
    np.savez_compressed(file, **golden)
    print(f"{file.name}: {file.stat().st_size >> 10} KB, logits {logits.min():.4g} .. {logits.max():.4g}")


def make_torch_files():
    """Small checkpoints in both of torch's formats, for the reader's tests."""
    base = torch.arange(24.0)
    state = {
        "a.weight": base.reshape(2, 3, 4),
        "a.transposed": base.reshape(2, 3, 4).permute(2, 0, 1),
        "a.slice": base[5:9],
        "a.half": torch.tensor([0.5, -2], dtype=torch.float16),
        "a.parameter": torch.nn.Parameter(torch.tensor([1.0, 2.0])),
        "a.count": torch.tensor(7),
        "a.empty": torch.zeros(0, 3),
    }
    for kind in ("zip", "legacy"):
        file = ROOT / "tests" / "golden" / f"torch_{kind}.pth"
        torch.save({"epoch": 3, "state_dict": state}, file, _use_new_zipfile_serialization=kind == "zip")


if __name__ == "__main__":
    make_torch_files()
    for architecture in sys.argv[1:] or NAMES:
        make(architecture)

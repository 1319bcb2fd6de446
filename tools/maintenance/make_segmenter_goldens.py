"""Maintenance: writes tests/golden/segmenters/NAME.npz, the outputs of other people's segmenters with random weights.

They are torchvision's, and the U-Net of segmentation-models-pytorch. Run it in an environment with torch, torchvision
and segmentation-models-pytorch (visionkit is not needed):

    python tools/maintenance/make_segmenter_goldens.py [NAME ...]

A golden file has the names and shapes of the checkpoint's tensors, the number of parameters, and, for two images, 2000
places of each map of logits with the map's range. No stride divides the sizes of the images, but for U-Net, which must
divide them there.
tests/models/test_segmenter_goldens.py compares them with ours. To accept a new value, run this again and say in the
commit message why the old one was wrong: it is their answer, not ours.
"""

import json
import sys
from pathlib import Path

import numpy as np
import segmentation_models_pytorch
import torch
from torchvision.models import segmentation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.drawn import drawn_places, drawn_scene, drawn_tensor  # noqa: E402

NAMES = (
    *("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"),
    *("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
)
UNET = "unet_resnet18"
SIZES, UNET_SIZES = ((67, 91), (90, 52)), ((64, 96), (96, 32))


def build(name):
    if name == UNET:
        return segmentation_models_pytorch.Unet("resnet18", encoder_weights=None, classes=21)
    options = {} if name.startswith("lraspp") else {"aux_loss": True}  # whose checkpoint has no auxiliary head
    return getattr(segmentation, name)(weights=None, weights_backbone=None, **options)


def make(name):
    model, sizes = build(name).eval(), UNET_SIZES if name == UNET else SIZES
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    drawn = {k: torch.from_numpy(drawn_tensor(k, tuple(v.shape))) for k, v in state.items()}
    model.load_state_dict(drawn, strict=False)
    golden = {
        "tensors": np.frombuffer(json.dumps({k: list(v.shape) for k, v in state.items()}).encode(), np.uint8),
        "parameters": sum(p.numel() for p in model.parameters()),
        "image_sizes": sizes,
    }
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for number, size in enumerate(sizes):
        image = torch.from_numpy(np.ascontiguousarray(drawn_scene(size))).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            maps = model((image - mean[:, None, None]) / std[:, None, None])
        for theirs, out in {"out": maps}.items() if name == UNET else maps.items():
            ours = "logits" if theirs == "out" else theirs
            values = out[0].permute(1, 2, 0).numpy()  # [H, W, K], as ours
            golden[f"{ours}{number}"] = values.ravel()[drawn_places(ours, values.size, 2000)]
            golden[f"{ours}{number}_range"] = np.ptp(values)
            print(name, ours, values.shape, f"{values.min():.4g} .. {values.max():.4g}")
    file = ROOT / "tests" / "golden" / "segmenters" / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    np.savez_compressed(file, **golden)
    print(f"{file.name}: {file.stat().st_size >> 10} KB")


if __name__ == "__main__":
    for architecture in sys.argv[1:] or (*NAMES, UNET):
        make(architecture)

"""What NanoDet is compared with, from the published graph and from the authors' own losses.

    python tools/maintenance/make_nanodet_goldens.py graph PATH/nanodet.json      (with TensorFlow)
    python tools/maintenance/make_nanodet_goldens.py losses CHECKOUT              (with PyTorch alone)

The first runs the graph on photographs that scikit-image's wheel ships; the second runs the losses and the assignment
of a checkout of github.com/RangiLyu/nanodet on drawn tensors. Each writes a file to tests/golden/nanodet/.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "golden" / "nanodet"
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
PLACES = 600  # of each output that are kept
SIZE, CLASSES, LAST_BIN, CELL_SCALE, STRIDES = (64, 96), 3, 7, 5, (8, 16, 32)


def graph(file):
    """The graph's outputs for each photograph, stretched to 416 x 416, at places that are drawn."""
    import skimage

    from visionkit.images import read_image
    from visionkit.resizing import fit

    run = published_graph(Path(file))
    folder, golden = Path(skimage.__file__).parent / "data", {"photos": np.array(PHOTOS)}
    for photo in PHOTOS:
        pixels = fit(read_image(folder / photo), (416, 416), "stretch")[0].astype(np.float32)
        bgr = (pixels[..., ::-1] - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
        outputs = run(bgr.transpose(2, 0, 1)[None].astype(np.float32))
        for name, levels in (("scores", outputs[:3]), ("bins", outputs[3:])):
            values = np.concatenate(levels, axis=1)[0]  # [A, K] or [A, 44]
            places = np.random.default_rng(len(golden)).integers(0, values.size, PLACES)
            if name == "scores":  # most of the scores are near 0: also keep the highest
                places[: PLACES // 4] = np.argsort(values, axis=None)[-PLACES // 4 :]
            golden |= {
                f"{photo}_{name}_places": places.astype(np.int32),
                f"{photo}_{name}": values.ravel()[places],
                f"{photo}_{name}_range": np.ptp(values),
            }
        print(photo, "highest score", golden[f"{photo}_scores"].max())
    write("graph", golden)


def published_graph(file):
    """A function from the graph's input, float32 `[1, 3, 416, 416]`, to its six outputs."""
    import tensorflow as tf
    from google.protobuf import json_format

    from visionkit.weights.tfjs import read_tfjs_file

    arrays, definition = read_tfjs_file(file), tf.compat.v1.GraphDef()
    nodes = json.loads(file.read_text())["modelTopology"]["node"]
    json_format.ParseDict({"node": nodes}, definition, ignore_unknown_fields=True)
    for node in definition.node:
        if node.op == "Const":
            kind = tf.as_dtype(node.attr["dtype"].type).as_numpy_dtype
            array = arrays[node.name].astype(kind)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    names = ["Identity:0", *(f"Identity_{i}:0" for i in range(1, 6))]
    pruned = imported.prune("input_1:0", names)
    return lambda x: [output.numpy() for output in pruned(tf.constant(x))]


def losses(checkout):
    """The losses, their gradients and the assignment for a drawn batch: an image of four objects, of one, of none."""
    import torch

    head = authors_head(Path(checkout))
    rng, cells = np.random.default_rng(0), sum(SIZE[0] // s * (SIZE[1] // s) for s in STRIDES)
    # Half precision, which is exact in float32 and takes half the room.
    logits = rng.normal(-2, 2, (3, cells, CLASSES)).astype(np.float16)
    bins = rng.normal(0, 2, (3, cells, 4 * (LAST_BIN + 1))).astype(np.float16)
    boxes = np.zeros((3, 4, 4), np.float32)
    boxes[0] = [[3.1, 5.2, 40.7, 60.9], [30.3, 8.8, 52.4, 30.1], [60.2, 33.3, 95.5, 63.6], [28.7, 4.4, 90.2, 50.5]]
    boxes[1, 0] = [10.6, 20.2, 24.9, 37.7]
    labels = np.int32([[0, 2, 1, 1], [2, -1, -1, -1], [-1, -1, -1, -1]])

    raw = torch.tensor(np.concatenate([logits, bins], axis=-1).astype(np.float32), requires_grad=True)
    truth = {
        "img": torch.zeros(3, 3, *SIZE),
        "gt_bboxes": [b[k >= 0] for b, k in zip(boxes, labels, strict=True)],
        "gt_labels": [k[k >= 0].astype(np.int64) for k in labels],
        "gt_bboxes_ignore": None,
    }
    loss, parts = head.loss(raw, truth)
    loss.backward()
    sizes = [(SIZE[0] // s, SIZE[1] // s) for s in STRIDES]
    grid = [head.get_grid_cells(n, CELL_SCALE, s, torch.float32, "cpu") for n, s in zip(sizes, STRIDES, strict=True)]
    answers = []
    for b, k in zip(truth["gt_bboxes"], truth["gt_labels"], strict=True):
        found = head.assigner.assign(
            torch.cat(grid), [len(g) for g in grid], torch.from_numpy(b), None, torch.from_numpy(k)
        )
        answers.append(found.gt_inds.numpy() - 1)  # -1 is background
    print({name: part.item() for name, part in parts.items()}, [(a >= 0).sum() for a in answers])
    gradient = raw.grad.numpy()
    places = np.flatnonzero(np.abs(gradient) > np.quantile(np.abs(gradient), 0.9))
    golden = {"logits": logits, "bins": bins, "boxes": boxes, "labels": labels, "answers": np.int8(answers)}
    golden |= {f"loss_{name}": np.float64(part.item()) for name, part in parts.items()}
    write("losses", golden | {"places": places.astype(np.int32), "gradient": gradient.ravel()[places]})


def authors_head(checkout):
    """Their GFLHead, which the NanoDet heads inherit losses from, without what it needs to draw and to suppress."""
    sys.path.insert(0, str(checkout))
    for name in ("cv2", "torchvision", "torchvision.ops"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.ops"].nms = None
    for name in (
        "nanodet",
        "nanodet.util",
        "nanodet.data",
        "nanodet.model",
        "nanodet.model.head",
        "nanodet.data.transform",
    ):
        package = types.ModuleType(name)  # instead of packages that import all there is
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    util = sys.modules["nanodet.util"]
    for part in ("box_transform", "misc"):
        vars(util).update(vars(importlib.import_module(f"nanodet.util.{part}")))
    util.NiceRepr = importlib.import_module("nanodet.util.util_mixins").NiceRepr
    util.overlay_bbox_cv = None
    warp = types.ModuleType("nanodet.data.transform.warp")
    warp.warp_boxes = None
    sys.modules[warp.__name__] = warp

    class Options(dict):
        __getattr__ = dict.__getitem__

    weights = Options(
        loss_qfl=Options(use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=Options(loss_weight=0.25),
        loss_bbox=Options(loss_weight=2.0),
    )
    head = importlib.import_module("nanodet.model.head.gfl_head").GFLHead
    norm = {"type": "BN"}
    return head(CLASSES, weights, 8, 8, 1, CELL_SCALE, list(STRIDES), norm_cfg=norm, reg_max=LAST_BIN)


def write(name, golden):
    file = FOLDER / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **golden)
    print(f"{file.name}: {file.stat().st_size >> 10} KB")


if __name__ == "__main__":
    {"graph": graph, "losses": losses}[sys.argv[1]](sys.argv[2])

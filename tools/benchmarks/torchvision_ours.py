"""visionkit's side of bench_torchvision.py."""

import json
import tempfile
from pathlib import Path

import keras
import numpy as np
from torchvision_cases import (
    CASES,
    CLASSIFIERS,
    NMS,
    ROOT,
    Call,
    candidates,
    class_maps,
    drawn_detector_tensor,
    drawn_tensor,
    later,
    objects,
    scene,
    timed,
)

from visionkit.weights.convert import assign


def ours(case: str, runtimes: list[str], exports: Path | None) -> dict[str, Call]:
    """Everything that can be measured of a case, by name.

    Args:
        case: of CASES.
        runtimes: exporters whose inference is measured too.
        exports: where their exports are kept; None writes them anew.
    """
    if case == "nms":
        return suppression()
    if case in CLASSIFIERS:
        model, calls = classifier(case)
    elif case.startswith("fcn"):
        model, calls = segmenter(case)
    else:
        model, calls = detector(case)
    return calls | exported(model, case, runtimes, exports)


def suppression():
    import tensorflow as tf

    from visionkit.ops.nms import best, nms

    @tf.function
    def suppress(boxes, scores):
        scores, row, labels = best(scores, NMS["score_threshold"], 4000)
        return nms(tf.gather(boxes, row, batch_dims=1), scores, labels, NMS["iou_threshold"], NMS["keep"])

    boxes, scores = (tf.constant(x[None]) for x in candidates())
    return {"batch 1": timed(lambda: suppress(boxes, scores)["scores"].numpy())}


def classifier(case):
    """With weights as Keras draws them: they do not change the time, since nothing is suppressed."""
    from visionkit.backbones import BACKBONES
    from visionkit.models import Classifier

    size, batches, _ = CASES[case]
    model = Classifier(BACKBONES[case](), 1000, image_size=size)
    return model, inference(case, model.serving(), batches)


def segmenter(case):
    from visionkit.weights.segmenters import SEGMENTERS

    size, batches, train_batch = CASES[case]
    model = SEGMENTERS[case](21, image_size=size)
    assign(model, drawn_weights(f"segmenters/{case}", drawn_tensor), case)
    # The map of logits, which is what torchvision gives; serving() has a softmax behind it, and so have the exports.
    calls = inference(case, keras.Model(model.input, model.output["logits"]), batches)
    model.compile(optimizer=keras.optimizers.SGD(1e-9, momentum=0.9), jit_compile=False)
    x, y = scene(case, train_batch), {"segmentation": class_maps(case, train_batch)}
    calls[f"training step, batch {train_batch}"] = timed(lambda: model.train_on_batch(x, y))
    return model, calls


def detector(case):
    from visionkit.weights.detectors import DETECTORS

    size, batches, train_batch = CASES[case]
    model = DETECTORS[case](80, image_size=size)
    assign(model, drawn_weights(f"detectors/{case}", drawn_detector_tensor), case)
    settings = {"iou_threshold": 0.45} if case.startswith("ssd") else {}
    raw = keras.Model(model.input, model.output)
    raw.jit_compile = False
    calls = inference(case, model.serving(**settings), batches)
    for batch in batches:
        x = scene(case, batch)
        calls[f"post-processing, batch {batch}"] = later(lambda x=x: post_processing(model, raw, settings, x))
    boxes, labels = objects(case, train_batch)
    y = {"boxes": boxes, "labels": labels, "ignore": np.zeros(labels.shape, bool)}
    model.compile(optimizer=keras.optimizers.SGD(1e-5, momentum=0.9), jit_compile=False)
    x = scene(case, train_batch)
    calls[f"training step, batch {train_batch}"] = timed(lambda: model.train_on_batch(x, y))
    return model, calls


def drawn_weights(golden, draw):
    """Weights by torchvision's names, drawn as for the golden file of this name in tests/golden."""
    shapes = json.loads(np.load(ROOT / "tests" / "golden" / f"{golden}.npz")["tensors"].tobytes())
    return {name: draw(name, tuple(shape)) for name, shape in shapes.items()}


def inference(case, network, batches):
    network.jit_compile = False
    calls = {}
    for batch in batches:
        x = scene(case, batch)
        calls[f"inference, batch {batch}"] = timed(lambda x=x: network.predict_on_batch(x))
    return calls


def post_processing(model, raw, settings, x):
    """What follows the network: decoding and suppression, also of the proposals; not the second stage's layers."""
    import tensorflow as tf

    raw = {key: tf.constant(value) for key, value in raw.predict_on_batch(x).items()}
    layers = {layer.name: layer for layer in model.serving(**settings).layers}
    if "decode" in layers:
        decode = tf.function(layers["decode"])
        return timed(lambda: decode(raw["logits"], raw["deltas"])["scores"].numpy())
    propose, decode = tf.function(layers["proposals"]), tf.function(layers["decode_regions"])
    regions, _ = propose(raw["objectness"], raw["deltas"])
    head = tf.function(lambda raw, regions: model.box_head(model.pool(model.features(raw), regions)))(raw, regions)

    def process():
        propose(raw["objectness"], raw["deltas"])[1].numpy()
        decode(head["logits"], head["deltas"], regions)["scores"].numpy()

    return timed(process)


def exported(model, case, runtimes, exports):
    """Inference by the exports of a model; exports that are missing are written in the first call."""
    from visionkit.export import EXPORTERS

    temporary = tempfile.TemporaryDirectory() if exports is None else None  # lives as long as the calls
    loaded = {}

    def load(name):
        if name not in loaded:
            folder = Path(temporary.name if temporary else exports) / f"{case}-{name}"
            if not folder.exists():
                part = folder.with_suffix(".part")
                EXPORTERS[name].save(model, part)
                part.rename(folder)
            loaded[name] = EXPORTERS[name].load(folder)
        return loaded[name]

    calls = {"prepare": timed(lambda: [load(name) for name in runtimes])}
    for name in runtimes:
        for batch in CASES[case][1]:
            x = scene(case, batch)
            calls[f"inference, batch {batch}, {name}"] = timed(lambda x=x, name=name: load(name).predict_on_batch(x))
    return calls

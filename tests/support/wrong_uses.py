"""Wrong uses of `compile`, `fit` and the constructors, each with the one line that it is answered with.

`python -m support.wrong_uses` prints, as JSON, what each is answered with on the backend of KERAS_BACKEND.
"""

import json

import grain
import keras
import numpy as np
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones import BACKBONES
from visionkit.data.dataset import Dataset
from visionkit.models import FCN, MODELS, SSD, Classifier

H, W = SIZE
IMAGES, Y = random_batch(batch=2)
OBJECTS = {key: Y[key] for key in ("boxes", "labels")}
MAPS = {"segmentation": Y["segmentation"]}


def classifier():
    backbone = BACKBONES["mlp"]((8, 8, 3), widths=(4,), activation="tanh")
    return compiled(Classifier(backbone, 3, image_size=(8, 8)))


def fixed_backbone():
    """Takes images of one size; its C3 has the stride of a C2."""
    inputs = keras.Input((*SIZE, 3))
    outputs = tiny_backbone(levels=("C2", "C4", "C5"))(inputs)
    return keras.Model(inputs, {"C3": outputs["C2"], "C4": outputs["C4"], "C5": outputs["C5"]}, name="fixed")


def compiled(model, **options):
    model.compile(optimizer=keras.optimizers.SGD(0.01), jit_compile=False, **options)
    return model


def small(count=4, wrong_row=None):
    """Images of 8x8 and labels for `classifier`; the label of `wrong_row` is 5."""
    images = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(count) % 3
    if wrong_row is not None:
        labels[wrong_row] = 5
    return images, labels


class Sequence(keras.utils.PyDataset):
    """Batches of two; the last of the three has a wrong label."""

    num_batches = 3

    def __getitem__(self, index):
        images, labels = small(6, wrong_row=5)
        rows = slice(2 * index, 2 * index + 2)
        return images[rows], {"label": labels[rows]}


def batches_of_two():
    return (Sequence()[i] for i in range(3))


def uses():
    """Yields (what, function, answer)."""
    ssd, fcn = compiled(SSD(tiny_backbone(), 3, image_size=SIZE)), compiled(FCN(tiny_backbone(), 3, image_size=SIZE))
    images, labels = small()
    net = classifier()

    def fit(model, x, y, **options):
        return lambda: model.fit(x, y, batch_size=2, verbose=0, **options)

    def objects(**changes):
        return fit(ssd, IMAGES, OBJECTS | changes)

    def boxes(change):
        return objects(boxes=np.where(Y["labels"][..., None] >= 0, change(Y["boxes"]), 0).astype(np.float32))

    def labelled(value):
        return objects(labels=np.where(Y["labels"] >= 0, value, -1))

    both = 'expected "boxes" and "labels"'
    in_pixels = "give x1, y1, x2, y2 in pixels of the images"
    to_float, row = np.float32, np.array([50, 40, 40, 30], np.float32)
    yield (
        "class id",
        fit(net, *[images, {"label": small(wrong_row=3)[1]}]),
        ("Classifier: row 3: label must be 0..2, found 5"),
    )
    yield "label K", labelled(3), "SSD: row 0: labels must be 0..2 (-1 where there is no object), found 3"
    yield (
        "label -2",
        objects(labels=Y["labels"] * 2),
        ("SSD: row 0: labels must be 0..2 (-1 where there is no object), found "),
    )
    yield (
        "bare array",
        fit(net, images, labels),
        ('Classifier: the targets must be a dict with "label", found int64 (4,)'),
    )
    yield (
        "missing key",
        fit(ssd, IMAGES, {"boxes": Y["boxes"], "classes": Y["labels"]}),
        (f'SSD: the targets lack "labels"; there are "boxes", "classes", {both}'),
    )
    yield (
        "no targets",
        fit(ssd, IMAGES, None),
        ('SSD: the targets must be a dict with "boxes" and "labels", found nothing'),
    )
    yield (
        "corners swapped",
        boxes(lambda box: np.broadcast_to(row, box.shape)),
        ("SSD: row 0: the box 50 40 40 30 has no area; expected x1 < x2 and y1 < y2"),
    )
    yield (
        "padding with the label 0",
        objects(labels=np.maximum(Y["labels"], 0)),
        ("SSD: row 0: a box 0 0 0 0; rows without an object need the label -1"),
    )
    yield (
        "fractions",
        boxes(lambda box: box / [W, H, W, H]),
        (f"SSD: the boxes look like fractions of the image; {in_pixels}"),
    )
    yield (
        "xywh",
        boxes(lambda box: np.broadcast_to(np.array([50, 40, 20, 20]), box.shape)),
        (f"SSD: the boxes look like x, y, width, height; {in_pixels}"),
    )
    yield (
        "boxes of a larger image",
        boxes(lambda box: np.broadcast_to(np.array([100, 70, 400, 300]), box.shape)),
        ("SSD: row 0: the box 100 70 400 300 reaches outside of its image of 64x96"),
    )
    yield (
        "images 0..1",
        fit(ssd, IMAGES.astype(to_float) / 255, OBJECTS),
        ("SSD: the images look scaled to 0..1 (values 0 to "),
    )
    yield (
        "images normalised",
        fit(ssd, (IMAGES.astype(to_float) - 127) / 60, OBJECTS),
        ("SSD: the images look normalised (values -2.12 to "),
    )
    yield (
        "images of another size",
        fit(ssd, IMAGES[:, :32], OBJECTS),
        ("SSD: images must be [B, 64, 96, 3], found uint8 (2, 32, 96, 3)"),
    )
    yield (
        "class map",
        fit(fcn, IMAGES, {"segmentation": np.full((2, H, W), 3)}),
        ("FCN: row 0: segmentation must be 0..2 (255 where nothing is known), found 3"),
    )
    yield (
        "size of the class map",
        fit(fcn, IMAGES, {"segmentation": np.zeros((2, 32, 48), int)}),
        ("FCN: expected segmentation [B, 64, 96], found (2, 32, 48)"),
    )
    yield (
        "sample_weight",
        fit(fcn, IMAGES, MAPS, sample_weight=np.ones(2)),
        ("FCN: sample_weight would not be used: leave it out; only Classifier weights its images"),
    )
    yield (
        "class_weight",
        fit(net, images, {"label": labels}, class_weight={0: 2.0}),
        ("Classifier: class_weight would not be used; give class_weights to a classifier or segmenter when it is made"),
    )
    with_loss = compiled(classifier(), loss="mse")
    yield (
        "a loss",
        fit(with_loss, images, {"label": labels}),
        ("Classifier: compile(loss=...) would be ignored, because the model has its own loss: leave it out"),
    )
    yield (
        "metrics",
        fit(compiled(classifier(), metrics=["accuracy"]), images, {"label": labels}),
        ("Classifier: compile(metrics=...) cannot read the model's targets: leave it out and score by vk.evaluate"),
    )
    yield (
        "a data set",
        fit(ssd, Dataset([], ["cat"]), None),
        ("SSD: a data set has no batches: give fit vk.batches(dataset, transform, batch_size, ...)"),
    )
    ragged = np.array([np.zeros((n, 4)) for n in (1, 2)], dtype=object)
    yield (
        "ragged boxes",
        objects(boxes=ragged, labels=ragged),
        ("SSD: expected boxes [B, M, 4] and labels [B, M], -1 in rows without an object; found (2,) and (2,)"),
    )
    yield (
        "validation data",
        fit(net, images, {"label": labels}, validation_data=(images, {"label": labels + 7})),
        ("Classifier: row 0: label must be 0..2, found 7"),
    )
    yield (
        "evaluate",
        lambda: net.evaluate(images, {"label": labels + 7}, verbose=0),
        ("Classifier: row 0: label must be 0..2, found 7"),
    )
    yield (
        "train_on_batch",
        lambda: net.train_on_batch(images, {"label": labels + 7}),
        ("Classifier: row 0: label must be 0..2, found 7"),
    )
    later = "Classifier: row 1: label must be 0..2, found 5"
    yield "later batch of a PyDataset", lambda: net.fit(Sequence(), shuffle=False, verbose=0), later
    yield (
        "later batch of a generator",
        (lambda: net.fit(batches_of_two(), steps_per_epoch=3, shuffle=False, verbose=0)),
        later,
    )
    feed = grain.MapDataset.range(3).map(Sequence().__getitem__)
    yield "later batch of grain", lambda: net.fit(feed, shuffle=False, verbose=0), later
    yield "later batch of tf.data", lambda: net.fit(tf_data(), shuffle=False, verbose=0), later
    yield (
        "unknown option",
        lambda: FCN(tiny_backbone(), 3, dropuot=0.5),
        ("FCN has no option 'dropuot'; did you mean 'dropout'?"),
    )
    yield (
        "image_size",
        lambda: SSD(tiny_backbone(), 3, image_size=96),
        ("SSD: image_size must be (height, width) in pixels, such as (96, 96), found 96"),
    )
    fixed = fixed_backbone()
    yield (
        "a backbone of another size",
        lambda: SSD(fixed, 3, levels=("C4", "C5")),
        (f"SSD: backbone 'fixed' is made for images of {SIZE} (height, width), not (320, 320); give image_size={SIZE}"),
    )
    yield (
        "a level of another stride",
        lambda: SSD(fixed, 3, image_size=SIZE, levels=("C3",)),
        ("backbone 'fixed': its level 'C3' has a stride of about 4 pixels, expected 8; it should be called 'C2'"),
    )
    yield (
        "levels",
        lambda: SSD(tiny_backbone(), 3, levels="C3"),
        ("SSD: levels must be a tuple of names, such as ('C3',), found the text 'C3'"),
    )
    yield (
        "a backbone's name",
        lambda: SSD("resnet50", 3),
        ("SSD: backbone='resnet50' is a name; give the model: vk.BACKBONES['resnet50']()"),
    )
    yield "a model's name", lambda: MODELS["SSD"], "\"no model 'SSD'; did you mean 'ssd'?\""
    yield (
        "class names",
        lambda: SSD(tiny_backbone(), 3, class_names=["cat"]),
        ("SSD: 3 classes but 1 class names: ['cat']; give one name for each"),
    )


def tf_data():
    import tensorflow as tf

    images, labels = small(6, wrong_row=5)
    return tf.data.Dataset.from_tensor_slices((images, {"label": labels})).batch(2)


def answers():
    """[what, the answer, the expected beginning of it] of each wrong use."""
    found = []
    for what, use, expected in uses():
        try:
            use()
            found.append([what, "nothing", expected])
        except (ValueError, TypeError, KeyError) as error:
            found.append([what, str(error), expected])
    return found


if __name__ == "__main__":
    print(json.dumps([keras.backend.backend(), answers()]))

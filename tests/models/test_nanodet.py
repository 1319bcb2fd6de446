"""NanoDet: the oracle, the authors' losses and assignment, corner cases, and learning a handful of images by heart."""

import keras
import numpy as np
import pytest
from keras import ops
from support.models import learned
from support.paths import GOLDEN
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones import BACKBONES
from visionkit.layers.decode_distances import DecodeDistances
from visionkit.metrics.detection import DetectionMetric
from visionkit.models import MODELS
from visionkit.models.nanodet import NANODET_G, NANODET_LITE0, NANODET_LITE1, NANODET_LITE2
from visionkit.ops.distances import to_distances
from visionkit.types import Detections, Sample, check_detections


def nanodet(num_classes=3, **knobs):
    return MODELS["nanodet"](tiny_backbone(), num_classes, image_size=SIZE, **{"pyramid_channels": 16} | knobs)


def tensors(y):
    return {key: ops.convert_to_tensor(value) for key, value in y.items()}


def scored(served, y, names):
    """The metric's result for what a model served of a batch."""
    metric = DetectionMetric(names)
    served = {key: ops.convert_to_numpy(value) for key, value in served.items()}
    for i, (boxes, labels) in enumerate(zip(y["boxes"], y["labels"], strict=True)):
        real, found = labels >= 0, served["labels"][i] >= 0
        truth = Sample(id=str(i), image_size=SIZE, boxes=boxes[real], labels=labels[real])
        rows = {key: value[i][found] for key, value in served.items()}
        metric.update(truth, check_detections(Detections(id=str(i), image_size=SIZE, **rows)))
    return metric.result()


def perfect(model, y):
    """Raw outputs that say what the targets are: a distance between two bins is shared out between them."""
    labels, boxes, positive, _ = map(ops.convert_to_numpy, model.targets(tensors(y)))
    logits = np.where(np.arange(model.num_classes) == labels[..., None], 20.0, -20.0).astype(np.float32)
    distances = ops.convert_to_numpy(to_distances(model.points, boxes)) / model.strides[:, None]
    near = np.maximum(1 - np.abs(np.arange(model.last_bin + 1) - distances[..., None]), 1e-9)  # [B, A, 4, n]
    return {"logits": logits, "bins": np.log(near).reshape(*labels.shape, -1).astype(np.float32)}, positive


def test_oracle_scores_one():
    """Ground truth -> targets -> perfect head outputs -> decoding -> metric: any slip in between costs mAP."""
    model = nanodet()
    _, y = random_batch(batch=16, objects=2, seed=3)
    raw, _ = perfect(model, y)
    decode = DecodeDistances(model.points, model.strides, SIZE, 0.05, 0.6, 1000, 100)
    scores = scored(decode(raw["logits"], raw["bins"]), y, ["a", "b", "c"])
    assert scores["mAP"] == pytest.approx(1.0)
    assert scores["voc12_mAP50"] == pytest.approx(1.0)


def test_perfect_outputs_lose_next_to_nothing_in_boxes_and_classes():
    model = nanodet()
    _, y = random_batch(batch=4, objects=2, seed=3)
    raw, _ = perfect(model, y)
    model.compute_loss(None, tensors(y), tensors(raw))
    assert float(model.class_loss.result()) < 1e-6
    assert float(model.box_loss.result()) < 1e-5
    # The cross-entropy with two bins is at least the entropy of how a distance is shared between them.
    assert 0 < float(model.bins_loss.result()) < 0.25 * np.log(2)


class Authors:
    """The drawn tensors that the authors' code saw, and what it made of them; see make_nanodet_goldens.py."""

    def __init__(self):
        self.golden = golden = dict(np.load(GOLDEN / "nanodet" / "losses.npz"))
        self.y = {"boxes": golden["boxes"], "labels": golden["labels"], "ignore": golden["labels"] < -1}
        self.raw = {key: golden[key].astype(np.float32) for key in ("logits", "bins")}
        self.model = nanodet(last_bin=7)


@pytest.fixture(scope="module")
def authors():
    return Authors()


def test_the_assignment_is_the_authors(authors):
    labels, boxes, positive, negative = map(ops.convert_to_numpy, authors.model.targets(tensors(authors.y)))
    answers = authors.golden["answers"]  # [B, A]: rows of the objects, -1 for background
    assert (answers >= 0).sum(axis=1).tolist() == [20, 4, 0]
    np.testing.assert_array_equal(positive, answers >= 0)
    np.testing.assert_array_equal(negative, answers < 0)
    image, cell = np.nonzero(positive)
    np.testing.assert_array_equal(labels[positive], authors.y["labels"][image, answers[image, cell]])
    np.testing.assert_array_equal(boxes[positive], authors.y["boxes"][image, answers[image, cell]])
    assert (labels[~positive] == 3).all()


def test_the_losses_are_the_authors(authors):
    model = authors.model
    model.compute_loss(None, tensors(authors.y), tensors(authors.raw))
    for ours, theirs in (("class_loss", "qfl"), ("box_loss", "bbox"), ("bins_loss", "dfl")):
        expected = authors.golden[f"loss_loss_{theirs}"]
        assert float(getattr(model, ours).result()) == pytest.approx(expected, rel=1e-5), ours


def test_the_gradients_are_the_authors(authors):
    tensorflow = pytest.importorskip("tensorflow")
    raw = {key: tensorflow.Variable(value) for key, value in authors.raw.items()}
    with tensorflow.GradientTape() as tape:
        loss = authors.model.compute_loss(None, tensors(authors.y), {key: v.value() for key, v in raw.items()})
    gradients = tape.gradient(loss, raw)
    gradient = np.concatenate([gradients["logits"], gradients["bins"]], axis=-1).ravel()[authors.golden["places"]]
    expected = authors.golden["gradient"]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def trained():
    """A function that takes one step from the same weights and returns the loss, the weights before and after it."""
    model = nanodet()
    model.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=True)
    start = model.get_weights()

    def step(images, y):
        model.set_weights(start)
        loss = float(model.train_on_batch(images, y, return_dict=True)["loss"])
        model.reset_metrics()
        return loss, start, model.get_weights()

    return step


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"labels": np.full((2, 8), -1, np.int32)}, id="only empty images"),
        pytest.param({"boxes": np.tile(np.float32([0, 0, 96, 64]), (2, 8, 1))}, id="boxes as large as the image"),
        pytest.param({"boxes": np.tile(np.float32([95, 63, 96, 64]), (2, 8, 1))}, id="one pixel in the corner"),
        pytest.param({"boxes": np.tile(np.float32([43.5, 27.5, 44.5, 28.5]), (2, 8, 1))}, id="one pixel in a centre"),
        pytest.param({"ignore": np.ones((2, 8), bool)}, id="only crowds"),
    ],
)
def test_corner_cases_give_a_finite_loss_above_zero_and_finite_steps(trained, change):
    images, y = random_batch(batch=2)
    loss, before, after = trained(images, y | change)
    assert 0 < loss < 1e3
    assert 0 < max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)) < np.inf


def test_one_pixel_is_found_where_it_lies_in_the_centre_of_a_cell():
    model = nanodet()
    y = {"boxes": np.float32([[[43.5, 27.5, 44.5, 28.5]]]), "labels": np.int32([[1]]), "ignore": np.array([[False]])}
    _, _, positive, _ = map(ops.convert_to_numpy, model.targets(tensors(y)))
    assert model.points[positive[0]].tolist() == [[44, 28]]
    y["boxes"] += 3  # no centre lies in it
    assert not ops.convert_to_numpy(model.targets(tensors(y))[2]).any()


def test_an_empty_image_teaches_background(trained):
    images, y = random_batch(batch=2, objects=0)
    _, before, after = trained(images, y)
    biases = [i for i, values in enumerate(before) if values.shape == (3,)]  # of the classes, one a level
    assert len(biases) == 3
    assert all((after[i] < before[i]).all() for i in biases)


def test_what_lies_in_a_crowd_is_not_background():
    model = nanodet()
    y = {"boxes": np.float32([[[0, 0, 48, 64]]]), "labels": np.int32([[0]]), "ignore": np.array([[True]])}
    _, _, positive, negative = map(ops.convert_to_numpy, model.targets(tensors(y)))
    assert not positive.any()
    np.testing.assert_array_equal(negative[0], model.points[:, 0] >= 48)


def test_before_training_every_class_is_unlikely():
    scores = 1 / (1 + np.exp(-nanodet().predict_on_batch(random_batch()[0])["logits"]))
    assert 0.005 < scores.min() < scores.max() < 0.02


def test_a_missing_level_is_named():
    with pytest.raises(ValueError, match=r"no level \['C7'\]; it has \['C3', 'C4', 'C5'\]"):
        nanodet(levels=("C3", "C7"))


def test_an_image_that_no_box_could_span_is_refused():
    with pytest.raises(ValueError, match=r"at most 32 pixels from its cell, too little for images of \(64, 96\)"):
        nanodet(last_bin=1)


@pytest.mark.slow
def test_learns_eight_images_by_heart():
    """Bright rectangles of two classes; through serving() and the metric, as a user would score it."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, y = random_batch(batch=8, objects=2, num_classes=2, seed=1)
    images = rng.integers(0, 60, images.shape).astype(np.uint8)
    for image, boxes, labels in zip(images, y["boxes"], y["labels"], strict=True):
        for (x1, y1, x2, y2), label in zip(boxes[:2].round().astype(int), labels[:2], strict=True):
            image[y1:y2, x1:x2, label] = 255
    model = nanodet(num_classes=2)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    serving = model.serving()

    def score():
        return scored(serving.predict_on_batch(images), y, ["a", "b"])["mAP50"]

    assert learned(lambda: model.fit(images, y, batch_size=8, epochs=10, verbose=0), score, 10) >= 0.9


# In millions, as the README of RangiLyu/nanodet has them.
@pytest.mark.parametrize(
    ("trunk", "knobs", "millions"),
    [
        ("csp_nanodet", NANODET_G, 3.81),
        ("efficientnet_lite0", NANODET_LITE0, 3.11),
        ("efficientnet_lite1", NANODET_LITE1, 4.01),
        ("efficientnet_lite2", NANODET_LITE2, 4.71),
    ],
)
def test_the_authors_networks_have_their_size(trunk, knobs, millions):
    model = MODELS["nanodet"](BACKBONES[trunk](), 80, **knobs)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    # Theirs counts a last convolution a level that is made and not used where classes and boxes share theirs.
    unused = sum(model.get_layer(f"bins{level}").count_params() for level in "345")
    assert round((count + unused) / 1e6, 2) == millions
    side = knobs["image_size"][0]
    assert model.level_sizes == ((side // 8) ** 2, (side // 16) ** 2, (side // 32) ** 2)

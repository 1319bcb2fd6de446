"""FCN: upsampling that interpolates, losses against plain numpy, and learning."""

import keras
import numpy as np
import pytest
from keras import ops
from support.backbones import Watch
from support.drawn import drawn_scene
from support.models import learned
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones.resnet import resnet
from visionkit.data.balance import median_frequency
from visionkit.layers.upsample import upsample
from visionkit.metrics.segmentation import SegmentationMetric
from visionkit.models.fcn import FCN, FCN8S, FCN16S, FCN32S
from visionkit.ops.segmentation_losses import dice_loss, pixel_cross_entropy
from visionkit.weights.convert import fit

PAPER = FCN8S | {"fc_units": 16}
K = 3


def small(size=SIZE, **knobs):
    knobs = {"head_units": 8} | knobs
    return FCN(tiny_backbone(levels=("C2", "C3", "C4", "C5")), K, image_size=size, **knobs)


def with_auxiliary(size=SIZE, **knobs):
    trunk = tiny_backbone()
    backbone = keras.Model(trunk.input, {**trunk.output, "aux": trunk.output["C4"]}, name="tiny")
    return FCN(backbone, K, image_size=size, head_units=8, **knobs)


def test_dilation_gives_the_strided_network_at_more_places():
    strided, dilated = (resnet((1, 1, 2, 2), True, dilated=dilated) for dilated in (False, True))
    dilated.set_weights(strided.get_weights())
    image = drawn_scene((64, 96))
    coarse, fine = strided(image), dilated(image)
    assert [fine[level].shape[1:3] for level in ("C1", "C2", "aux", "C3")] == [(32, 48), (16, 24), (8, 12), (8, 12)]
    for level, other, step in (("C4", "aux", 2), ("C5", "C3", 4)):
        expected = ops.convert_to_numpy(coarse[level])
        found = ops.convert_to_numpy(fine[other])[:, ::step, ::step]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.ptp(expected))


def test_a_dense_layer_becomes_a_convolution():
    rng = np.random.default_rng(0)
    dense, image = rng.normal(size=(4, 3 * 7 * 7)).astype(np.float32), rng.normal(size=(7, 7, 3)).astype(np.float32)
    layer = keras.layers.Conv2D(4, 7, use_bias=False)
    layer.build((None, 7, 7, 3))
    parameter, kernel = fit(dense, "weight", layer)
    assert parameter == "kernel"
    layer.set_weights([kernel])
    expected = dense @ image.transpose(2, 0, 1).ravel()  # torch flattens C, H, W
    np.testing.assert_allclose(ops.convert_to_numpy(layer(image[None]))[0, 0, 0], expected, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_the_transposed_convolution_begins_as_bilinear_interpolation(factor):
    size = (5 * factor, 6 * factor)
    x = np.random.default_rng(0).random((2, 5, 6, K), dtype=np.float32)
    inputs = keras.Input((5, 6, K))
    maps = [upsample(inputs, size, "up", factor, learned) for learned in (True, False)]
    learned, fixed = (ops.convert_to_numpy(keras.Model(inputs, out)(x)) for out in maps)
    inside = slice(factor // 2, -factor // 2)  # between the outermost centres; beyond, one fades and one goes on
    np.testing.assert_allclose(learned[:, inside, inside], fixed[:, inside, inside], atol=1e-6)
    assert np.abs(learned - fixed).max() > 0.1
    # By hand, on the first row of centres a quarter of the way and so on: (1 - t) * x[0] + t * x[1].
    t = ((np.arange(factor) + 0.5) / factor)[:, None]
    row = slice(factor // 2, factor // 2 + factor)
    expected = (1 - t) * _at(x, 0, factor) + t * _at(x, 1, factor)
    np.testing.assert_allclose(fixed[0, row, factor // 2], expected, atol=1e-6)


def _at(x, row, factor):
    """Row `row` of the coarse map at the fine column factor // 2: half a fine pixel right of the first centre."""
    t = 0.5 / factor
    return (1 - t) * x[0, row, 0] + t * x[0, row, 1]


@pytest.mark.parametrize("size", [(67, 75), (33, 100), (64, 96)])
@pytest.mark.parametrize(
    "knobs", [{}, {"levels": ("C2", "C5")}, PAPER, FCN16S | {"fc_units": 16}, FCN32S | {"fc_units": 16}]
)
def test_any_size_in_and_a_map_of_that_size_out(size, knobs):
    model = small(size, **knobs)
    images = np.zeros((2, *size, 3), np.uint8)
    logits = ops.convert_to_numpy(model(images)["logits"])
    assert (logits.dtype, logits.shape) == (np.float32, (2, *size, K))
    assert model.compute_output_shape((None, *size, 3))["logits"] == (None, *size, K)


@pytest.mark.parametrize("size", [(40, 48), (43, 53), (47, 49)])
@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
def test_the_map_lies_where_the_image_does(upsampling, size):
    """Also where no stride divides the size."""
    logits, ramp = ramp_through(upsampling, size)
    np.testing.assert_allclose(logits[8:-16, 8:-16], 2 * ramp[8:-16, 8:-16], atol=1e-4)  # two levels: twice the ramp


def test_a_stretched_map_lies_there_only_if_the_strides_divide():
    logits, ramp = ramp_through("stretched", (40, 48))
    np.testing.assert_allclose(logits[8:-8, 8:-8], 2 * ramp[8:-8, 8:-8], atol=1e-4)
    logits, ramp = ramp_through("stretched", (43, 53))
    assert np.abs(logits[8:-8, 8:-8] - 2 * ramp[8:-8, 8:-8]).max() > 1


def ramp_through(upsampling, size):
    """Logits and image `[H, W]` of an FCN that has an identity for its network, and an image that is a ramp.

    What is left is the upsampling, which must not move the map.
    """
    inputs = keras.Input((None, None, 1))
    pooled = {f"C{n}": keras.layers.AveragePooling2D(2**n)(inputs) for n in (2, 3)}
    backbone = keras.Model(inputs, pooled)
    model = FCN(backbone, 1, image_size=size, levels=("C2", "C3"), head_units=0, upsampling=upsampling)
    for n in (2, 3):
        model.get_layer(f"logits{n}").set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    ramp = np.arange(size[1], dtype=np.float32)[None, None, :, None].repeat(size[0], axis=1)
    return ops.convert_to_numpy(model(ramp)["logits"])[0, :, :, 0], ramp[0, :, :, 0]


@pytest.mark.parametrize("build", [small, lambda: small(**PAPER), with_auxiliary], ids=["heads", "paper", "auxiliary"])
def test_every_weight_gets_a_gradient(build):
    model, rng = build(), np.random.default_rng(0)
    for weight in model.trainable_weights:
        if "logits" in weight.path and weight.name == "kernel":  # the paper's are zero: nothing passes them at first
            weight.assign(rng.normal(0, 0.1, weight.shape))
    model.compile(optimizer=Watch(), run_eagerly=True)
    model.train_on_batch(*random_batch())
    assert len(model.optimizer.seen) == len(model.trainable_weights)
    for path, gradient in model.optimizer.seen.items():
        assert gradient is not None, path
        assert 0 < np.abs(ops.convert_to_numpy(gradient)).max() < np.inf, path


@pytest.mark.parametrize("knobs", [{}, {"loss": "focal", "dice": 1.0, "class_weights": [1.0, 2.0, 0.5]}])
def test_an_image_without_a_labelled_pixel_teaches_nothing(knobs):
    model = small(**knobs)
    model.compile(optimizer=Watch(), run_eagerly=True)
    images, _ = random_batch(batch=2)
    loss = model.train_on_batch(images, {"segmentation": np.full((2, *SIZE), 255, np.int32)}, return_dict=True)["loss"]
    assert loss == 0
    for path, gradient in model.optimizer.seen.items():
        np.testing.assert_array_equal(ops.convert_to_numpy(gradient), 0, err_msg=path)


def drawn_maps(ignored=True):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2, 5, 6, K)).astype(np.float32)
    labels = rng.integers(0, K, (2, 5, 6)).astype(np.int32)
    if ignored:
        labels[rng.random(labels.shape) < 0.3] = 255
    return logits, labels


def numpy_cross_entropy(logits, labels, weights=(1, 1, 1), gamma=0):
    total = count = 0.0
    for row, label in zip(logits.reshape(-1, K).astype(np.float64), labels.ravel(), strict=True):
        if label != 255:
            p = np.exp(row[label]) / np.exp(row).sum()
            total += weights[label] * (1 - p) ** gamma * -np.log(p)
            count += weights[label]
    return total / count


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 4.0)])
@pytest.mark.parametrize("gamma", [0, 2])
def test_cross_entropy_and_focal_loss_by_the_pixel(weights, gamma):
    logits, labels = drawn_maps()
    found = float(pixel_cross_entropy(logits, labels, weights, gamma))
    assert found == pytest.approx(numpy_cross_entropy(logits, labels, weights or (1, 1, 1), gamma), rel=1e-5)


def test_dice_by_the_class():
    logits, labels = drawn_maps()
    labels[labels == 1] = 255  # a class that does not occur is left out
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    counts, losses = labels != 255, []
    for k in (0, 2):
        there = labels == k
        losses.append(1 - 2 * p[..., k][there].sum() / (p[..., k][counts].sum() + there.sum()))
    assert float(dice_loss(logits, labels)) == pytest.approx(np.mean(losses), rel=1e-5)
    sure = 50 * np.eye(K, dtype=np.float32)[np.where(counts, labels, 0)]
    assert float(dice_loss(sure, labels)) == pytest.approx(0, abs=1e-6)


def test_median_frequency_by_hand():
    # Class 0: 6 of the 8 labelled pixels of both images; class 1: 1 of 4 (only the first has it); class 2: 1 of 4.
    maps = [np.array([[0, 0, 0], [1, 255, 255]]), np.array([[0, 0, 0], [2, 255, 255]])]
    # Frequencies 0.75, 0.25, 0.25: the median is 0.25. Class 3 never occurs.
    assert median_frequency(maps, 4) == pytest.approx([1 / 3, 1, 1, 1])
    assert median_frequency([np.full((2, 2), 255)], 2) == [1, 1]


def test_the_auxiliary_map_counts_half_and_in_training_only():
    model = with_auxiliary()
    images, y = random_batch(batch=2)
    raw = model(images)
    assert set(raw) == {"logits", "aux"}
    losses = {name: float(model.map_loss(maps, y["segmentation"])) for name, maps in raw.items()}
    trained, tested = (float(model.compute_loss(images, y, raw, training=training)) for training in (True, False))
    assert trained == pytest.approx(losses["logits"] + 0.5 * losses["aux"], rel=1e-6)
    assert tested == pytest.approx(losses["logits"], rel=1e-6)
    assert set(model.serving().output) == {"probabilities"}


def test_knobs_out_of_range_are_refused():
    for knobs, message in (
        ({"upsampling": "bicubic"}, "upsampling must be 'fixed' or 'learned' or 'stretched', not 'bicubic'"),
        ({"loss": "dice"}, "loss must be 'cross_entropy' or 'focal', not 'dice'"),
        ({"class_weights": [1.0]}, "3 classes but 1 class weights"),
        ({"levels": ("C3", "C6")}, r"has no level \['C6'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            small(**knobs)


@pytest.mark.parametrize(
    "knobs", [{"head_units": 16, "dropout": 0.0}, PAPER | {"fc_units": 32, "dropout": 0.0}], ids=["heads", "paper"]
)
def test_it_learns_four_images_by_heart(knobs):
    keras.utils.set_random_seed(0)
    size, rng = (48, 64), np.random.default_rng(0)
    labels = np.zeros((4, *size), np.int32)
    for i in range(4):
        for k in (1, 2):
            y, x = rng.integers(0, 24, 2)
            labels[i, y : y + 20, 30 * (k - 1) + x // 6 : 30 * (k - 1) + x // 6 + 22] = k
    images = (
        np.array([[90, 90, 90], [220, 60, 60], [60, 60, 220]])[labels] + rng.integers(-30, 30, (4, *size, 3))
    ).astype(np.uint8)
    model = FCN(tiny_backbone(16, levels=("C2", "C3", "C4", "C5")), K, image_size=size, **knobs)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    serving = model.serving()

    def train():
        for _ in range(15):
            model.train_on_batch(images, {"segmentation": labels})

    def score():
        metric = SegmentationMetric(["ground", "red", "blue"])
        for truth, probabilities in zip(labels, serving.predict_on_batch(images)["probabilities"], strict=True):
            np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
            metric.update(truth, probabilities.argmax(axis=-1))
        return metric.result()["mIoU"]

    assert learned(train, score, 10) >= 0.9

"""DeepLabV3, LR-ASPP and U-Net: shapes, gradients, learning, and the dilated backbones below them."""

import keras
import numpy as np
import pytest
from keras import ops
from support.backbones import Watch, drawn
from support.drawn import drawn_scene
from support.models import BUILD, learned
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones import BACKBONES, DILATED
from visionkit.backbones.convnext import convnext
from visionkit.backbones.mobilenet_v3 import SWISH, mobilenet_v3
from visionkit.metrics.segmentation import SegmentationMetric
from visionkit.models import LRASPP, MODELS, DeepLabV3, UNet

NAMES = ("deeplabv3", "lraspp", "unet")
K = 3


@pytest.mark.parametrize("name", NAMES)
def test_any_size_in_and_a_map_of_that_size_out(name):
    model = BUILD[name]()
    for size in ((67, 75), (33, 100)):
        logits = ops.convert_to_numpy(model.for_size(size)(np.zeros((2, *size, 3), np.uint8))["logits"])
        assert (logits.dtype, logits.shape) == (np.float32, (2, *size, K))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(name):
    model = BUILD[name]()
    model.compile(optimizer=Watch(), run_eagerly=True)
    model.train_on_batch(*random_batch())
    assert len(model.optimizer.seen) == len(model.trainable_weights)
    for path, gradient in model.optimizer.seen.items():
        assert gradient is not None, path
        assert 0 < np.abs(ops.convert_to_numpy(gradient)).max() < np.inf, path


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_learns_four_images_by_heart(name):
    keras.utils.set_random_seed(0)
    size, rng = (48, 64), np.random.default_rng(0)
    labels = np.zeros((4, *size), np.int32)
    for i in range(4):
        for k in (1, 2):
            y, x = rng.integers(0, 24, 2)
            labels[i, y : y + 20, 30 * (k - 1) + x // 6 : 30 * (k - 1) + x // 6 + 22] = k
    colours = np.array([[90, 90, 90], [220, 60, 60], [60, 60, 220]])
    images = (colours[labels] + rng.integers(-30, 30, (4, *size, 3))).astype(np.uint8)
    levels, options = {
        "deeplabv3": (("C2",), {"units": 8, "dropout": 0.0}),
        "lraspp": (("C2", "C3"), {"low": "C2", "units": 16}),
        "unet": (("C1", "C2", "C3"), {"units": (16, 16, 16)}),
    }[name]
    backbone = tiny_backbone(16, levels=levels)
    model = MODELS[name](backbone, K, image_size=size, **options)
    model.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=False)
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

    assert learned(train, score, 8) >= 0.9


def test_u_net_has_as_many_weights_as_the_one_of_segmentation_models():
    """Unet("resnet34", classes=1): 21,284,672 of the encoder, 3,151,552 of five steps, 145 of the scores."""
    model = UNet(BACKBONES["resnet34"](), 1, image_size=(64, 64))
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 21_284_672 + 3_151_552 + 145


def test_u_net_does_without_levels_that_the_backbone_lacks():
    model = UNet(convnext((1, 1, 1, 1), channels=(8, 8, 8, 8)), K, image_size=(70, 90), units=(8,) * 5)
    joined = {layer.name for layer in model.layers if layer.name.endswith("_join")}
    assert joined == {"up4_join", "up3_join", "up2_join"}
    assert model(drawn_scene((70, 90)))["logits"].shape == (1, 70, 90, K)
    assert UNet(tiny_backbone(), K, image_size=SIZE, units=(8, 8), finest="C3").get_layer("up3_conv2") is not None


def test_the_branches_of_deeplab_suit_the_stride():
    rates = {}
    for level in ("C3", "C4", "C5"):
        model = DeepLabV3(tiny_backbone(), K, image_size=SIZE, level=level, units=8)
        rates[level] = [model.get_layer(f"aspp{i}").dilation_rate[0] for i in (1, 2, 3)]
    assert rates == {"C3": [12, 24, 36], "C4": [6, 12, 18], "C5": [3, 6, 9]}


def test_what_cannot_be_built_is_refused():
    for kind, options, message in (
        (LRASPP, {"low": "C4", "high": "C3"}, "the coarse level must lie above the fine one, C4, but is C3"),
        (UNet, {"units": (8, 8)}, "5 steps from C5 to C0 but 2 units"),
        (UNet, {"finest": "C5"}, "0 steps from C5 to C5"),
        (DeepLabV3, {"upsampling": "learned"}, "upsampling must be 'fixed' or 'stretched', not 'learned'"),
        (DeepLabV3, {"level": "C6"}, r"has no level \['C6'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            kind(tiny_backbone(), K, image_size=SIZE, **options)


def test_a_dilated_efficientnet_gives_the_strided_network_at_more_places():
    strided = BACKBONES["efficientnet_lite0"]()
    dilated = DILATED["efficientnet_lite0"]()
    for weight in strided.weights:
        weight.assign(drawn(weight))
    dilated.set_weights(strided.get_weights())
    image = drawn_scene((64, 96))
    coarse, fine = strided(image), dilated(image)
    assert {level: values.shape[1:3] for level, values in fine.items()} == {
        **{"C1": (32, 48), "C2": (16, 24), "C3": (8, 12)},
        **{"aux": (4, 6), "C4": (4, 6)},
    }
    np.testing.assert_allclose(fine["aux"], coarse["C4"], rtol=1e-5, atol=1e-5)
    expected = ops.convert_to_numpy(coarse["C5"])
    # TensorFlow's "same" centres the strided 5x5 on every second place, beginning with the second.
    np.testing.assert_allclose(fine["C4"][:, 1::2, 1::2], expected, atol=1e-4 * np.ptp(expected))


def test_every_dilated_form_takes_the_weights_of_its_backbone():
    rows = ((3, 16, 16, True, "relu", 2), *((3, 32, 16, False, SWISH, 2),) * 3)
    strided, dilated = (mobilenet_v3(rows, dilated=flag) for flag in (False, True))
    assert [w.shape for w in strided.weights] == [w.shape for w in dilated.weights]
    shapes = dilated.compute_output_shape((1, 64, 96, 3))
    assert {level: shape[1:3] for level, shape in shapes.items()} == {
        **{"C1": (32, 48), "C2": (16, 24), "C3": (8, 12)},
        **{"aux": (8, 12), "C4": (4, 6)},
    }
    assert set(DILATED) <= set(BACKBONES)

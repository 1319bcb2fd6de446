"""What a task model says about arguments that it cannot take: one line, before anything is built."""

import keras
import numpy as np
import pytest
from support.tiny import SIZE, tiny_backbone

from visionkit.backbones import BACKBONES
from visionkit.models import FCN, MODELS, SSD, Classifier, MaskRCNN


class OwnCall(keras.Model):
    def call(self, x):
        return x


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.mark.parametrize(
    "kind, options, error, message",
    [
        (FCN, {"dropuot": 0.5}, TypeError, "FCN has no option 'dropuot'; did you mean 'dropout'?"),
        (MaskRCNN, {"roi_sample": 8}, TypeError, "MaskRCNN has no option 'roi_sample'; did you mean 'roi_samples'?"),
        (
            FCN,
            {"calibration": 0.5},
            TypeError,
            "FCN: calibration must be a curve that vk.calibrate has found, found 0.5",
        ),
        (SSD, {"classnames": ["a"]}, TypeError, "SSD has no option 'classnames'; did you mean 'class_names'?"),
        (
            Classifier,
            {"qqq": 1},
            TypeError,
            "Classifier has no option 'qqq'; there are backbone, num_classes, class_names, image_size, resize, head, "
            "dropout, label_smoothing, class_weights, licence, calibration, name, trainable",
        ),
        (
            SSD,
            {"image_size": 96},
            TypeError,
            "SSD: image_size must be (height, width) in pixels, such as (96, 96), found 96",
        ),
        (
            SSD,
            {"image_size": (96, 96, 3)},
            TypeError,
            "SSD: image_size must be (height, width) in pixels, such as (320, 320), found (96, 96, 3)",
        ),
        (
            SSD,
            {"levels": "C3"},
            TypeError,
            "SSD: levels must be a tuple of names, such as ('C3',), found the text 'C3'",
        ),
        (SSD, {"num_classes": 0}, ValueError, "SSD: num_classes must be a whole number above 0, found 0"),
        (
            SSD,
            {"num_classes": ["a", "b"]},
            TypeError,
            "SSD: num_classes must be a number, found ['a', 'b']; give num_classes=2, class_names=['a', 'b']",
        ),
        (
            SSD,
            {"class_names": "cat"},
            TypeError,
            "SSD: class_names must be a list of names, such as ['cat'], found the text 'cat'",
        ),
        (
            SSD,
            {"class_names": ["cat"]},
            ValueError,
            "SSD: 3 classes but 1 class names: ['cat']; give one name for each",
        ),
        (
            SSD,
            {"backbone": "resnet50"},
            TypeError,
            "SSD: backbone='resnet50' is a name; give the model: vk.BACKBONES['resnet50']()",
        ),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line(backbone, kind, options, error, message):
    with pytest.raises(error) as raised:
        kind(**({"backbone": backbone, "num_classes": 3, "image_size": SIZE} | options))
    assert str(raised.value) == message


def test_a_backbone_must_be_a_model_of_levels():
    with pytest.raises(TypeError, match=r"SSD: backbone must be a keras\.Model, found .*; call it: resnet18\(\)"):
        SSD(BACKBONES["resnet18"], 3)
    images = keras.Input((64, 64, 3))
    one = keras.Model(images, keras.layers.Conv2D(4, 3)(images), name="one")
    with pytest.raises(TypeError, match="SSD: backbone 'one' must return a dict of levels, found <KerasTensor"):
        SSD(one, 3)


def test_what_is_right_is_taken(backbone):
    model = SSD(backbone, np.int64(2), image_size=list(SIZE), class_names=("a", "b"), licence="MIT", name="mine")
    assert (model.num_classes, model.image_size, model.licence, model.name) == (2, SIZE, "MIT", "mine")


@pytest.mark.parametrize(
    "registry, name, message",
    [
        (MODELS, "SSD", "no model 'SSD'; did you mean 'ssd'?"),
        (
            MODELS,
            "yolo",
            "no model 'yolo'; there are classifier, ssd, nanodet, retinanet, fcos, faster_rcnn, mask_rcnn, "
            "keypoint_rcnn, fcn, deeplabv3, lraspp, unet",
        ),
        (BACKBONES, "ResNet50", "no backbone 'ResNet50'; did you mean 'resnet50'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(registry, name, message):
    with pytest.raises(KeyError) as raised:
        registry[name]
    assert raised.value.args == (message,)
    assert name not in registry
    assert registry.get(name) is None

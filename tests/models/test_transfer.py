"""A model for other classes begins with what a trained one knows: rows of classes go by name, all else is copied."""

import keras
import numpy as np
import pytest
from support.models import BUILD, TWO_STAGES
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.models import MODELS
from visionkit.models.classifier import Classifier
from visionkit.models.fcn import FCN
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.transfer import start_from
from visionkit.types import DataError

NAMES = ["a", "b", "c"]
# The outputs of a model's graph or serving that tell classes apart, and whether background comes last.
LOGITS = {"ssd": ("logits", 1), "nanodet": ("logits", 0), "retinanet": ("logits", 0), "fcn": ("logits", 0)}


def start_of(kind):
    """A model whose class names are a, b and c, and whose biases are no zeros."""
    model = BUILD[kind]()
    model.class_names = NAMES
    model._arguments["class_names"] = NAMES
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "bias" in weight.path:
            weight.assign(rng.normal(0, 1, weight.shape))
    return model


@pytest.mark.parametrize("kind", LOGITS)
def test_classes_of_equal_names_give_the_same_logits_whatever_their_order(kind):
    start = start_of(kind)
    model, transfer = start_from(start, ["new", "c", "a"], SIZE)
    assert transfer.sources == {"new": None, "c": "c", "a": "a"}
    assert not [path for path in transfer.fresh if "upsample" not in path]
    images, _ = random_batch()
    name, background = LOGITS[kind]
    if kind == "fcn":  # its learned upsampling mixes the classes; the scores before it do not
        layer = "logits"
        before = keras.Model(start.input, start.get_layer(layer).output)(images)
        after = keras.Model(model.input, model.get_layer(layer).output)(images)
    else:
        before, after = start(images)[name], model(images)[name]
    before, after = keras.ops.convert_to_numpy(before), keras.ops.convert_to_numpy(after)
    np.testing.assert_array_equal(after[..., [1, 2]], before[..., [2, 0]])
    if background:
        np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert not np.array_equal(after[..., 0], before[..., 1])


@pytest.mark.parametrize("kind", ["faster_rcnn", "mask_rcnn"])
def test_the_heads_of_regions_keep_classes_boxes_and_masks_by_name(kind):
    start = start_of(kind)
    model, _ = start_from(start, ["c", "b", "a"], SIZE)
    pooled = np.random.default_rng(1).normal(0, 1, (2, 5, 7, 7, 8)).astype(np.float32)
    before, after = start.box_head(pooled), model.box_head(pooled)
    np.testing.assert_array_equal(after["logits"], np.asarray(before["logits"])[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(after["deltas"], np.asarray(before["deltas"])[..., [2, 1, 0], :])
    if kind == "mask_rcnn":
        pooled = np.random.default_rng(1).normal(0, 1, (2, 5, 14, 14, 8)).astype(np.float32)
        before, after = start.mask_head(pooled), model.mask_head(pooled)
        np.testing.assert_array_equal(after, np.asarray(before)[..., [2, 1, 0]])


def test_a_mask_rcnn_starts_from_a_faster_rcnn_and_draws_its_masks_anew():
    start = start_of("faster_rcnn")
    model, transfer = start_from(start, NAMES, SIZE, kind=MaskRCNN, mask_channels=8)
    assert isinstance(model, MaskRCNN)
    assert transfer.fresh and all("mask" in path for path in transfer.fresh)
    with pytest.raises(DataError, match="a FasterRCNN cannot start from a MaskRCNN"):
        start_from(model, NAMES, SIZE, kind=type(start))


def test_a_renamed_class_is_carried_over_under_its_new_name():
    model, transfer = start_from(start_of("ssd"), ["z", "b"], SIZE, {"a": "z"})
    assert transfer.sources == {"z": "a", "b": "b"}
    assert str(transfer).splitlines()[:2] == ["  z: from a", "  b: kept"]
    assert model.class_names == ["z", "b"]


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        ({"q": "b"}, "--map q=b: the start has no class 'q'; it has a, b, c"),
        ({"a": "q"}, "--map a=q: the data has no class 'q'; it has b, d"),
    ],
)
def test_a_class_that_is_not_there_is_named(renamed, message):
    with pytest.raises(DataError, match=message):
        start_from(start_of("ssd"), ["b", "d"], SIZE, renamed)


def test_a_size_that_the_network_does_not_take_is_refused():
    with pytest.raises(DataError, match=r"the start does not take images of 4000x96: a box can extend at most"):
        start_from(start_of("nanodet"), NAMES, (4000, 96))


def test_other_image_sizes_keep_every_weight():
    start = start_of("ssd")
    model, transfer = start_from(start, NAMES, (SIZE[0] + 32, SIZE[1]))
    assert transfer.fresh == []
    assert model.image_size == (SIZE[0] + 32, SIZE[1])
    for before, after in zip(start.weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_equal_classes_keep_the_layers_that_mix_them():
    start = FCN(tiny_backbone(), 3, NAMES, SIZE, head_units=0, upsampling="learned")
    assert start_from(start, NAMES, SIZE)[1].fresh == []
    fresh = start_from(start, ["c", "b", "a"], SIZE)[1].fresh
    assert fresh and all("upsample" in path for path in fresh)


def test_a_classifier_takes_what_is_no_longer_so_from_the_caller():
    start = Classifier(tiny_backbone(), 3, NAMES, SIZE, class_weights=[1.0, 2.0, 3.0])
    model, _ = start_from(start, ["a", "b"], SIZE, class_weights=None)
    images, _ = random_batch()
    np.testing.assert_array_equal(model(images)["logits"], np.asarray(start(images)["logits"])[:, :2])


def test_every_kind_says_where_its_classes_are():
    """A class more changes the shapes of exactly those weights that `class_layers` names."""
    for kind in ("ssd", "nanodet", "retinanet", "fcos", "fcn", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"):
        options = TWO_STAGES if "rcnn" in kind else {}
        options = {**options, "num_classes": 4, "image_size": SIZE}
        small = {"ssd": {}, "nanodet": {"pyramid_channels": 8}, "fcn": {"head_units": 8}, "faster_rcnn": {}}
        small |= {"keypoint_rcnn": {"keypoint_channels": 8}}
        small |= {each: {"pyramid_channels": 8, "head_convs": 1} for each in ("retinanet", "fcos")}
        options |= small.get(kind, {"mask_channels": 8})
        options.pop("class_names", None)
        more = MODELS[kind](tiny_backbone(), **options)
        fewer = MODELS[kind](tiny_backbone(), **options | {"num_classes": 3})
        shapes = {weight.path: tuple(weight.shape) for weight in fewer.weights}
        changed = {weight.path for weight in more.weights if shapes[weight.path] != tuple(weight.shape)}
        assert changed, kind
        assert {path for path in changed if more.rows_of(path) is None} == set(), kind

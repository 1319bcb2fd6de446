"""Keras' preprocessing layers as augmentation: boxes, masks and maps stay with the pixels, or the layer is refused."""

import json
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import visionkit as vk
from visionkit.data.augment_file import pipeline_of, saved_form
from visionkit.data.keras_layers import COLOURS, GEOMETRIC, KNOWN, REFUSED, KerasLayers

SIZE = (48, 80)
RECTANGLES = np.array([[6, 8, 20, 30], [40, 10, 70, 22], [30, 28, 50, 44]], np.float32)
CONSTANT = {"fill_mode": "constant", "interpolation": "nearest"}
MOVING = {
    "flip": lambda: layers.RandomFlip(),
    "upside down": lambda: layers.RandomFlip("vertical"),
    "crop": lambda: layers.CenterCrop(30, 50),
    "resize": lambda: layers.Resizing(96, 100, interpolation="nearest"),
    "resize and crop": lambda: layers.Resizing(64, 64, interpolation="nearest", crop_to_aspect_ratio=True),
    "resize and pad": lambda: layers.Resizing(64, 64, interpolation="nearest", pad_to_aspect_ratio=True),
    "rotate": lambda: layers.RandomRotation(0.1, **CONSTANT),
    "translate": lambda: layers.RandomTranslation(0.3, 0.2, fill_value=128.0, **CONSTANT),
    "zoom": lambda: layers.RandomZoom((-0.3, 0.3), (-0.3, 0.3), **CONSTANT),
    "perspective": lambda: layers.RandomPerspective(1.0, 0.3, interpolation="nearest"),
}


def sample(masks=True):
    """Three rectangles, one in each colour; the last one is to be ignored."""
    image, cut = np.zeros((*SIZE, 3), np.uint8), np.zeros((3, *SIZE), np.uint8)
    segmentation = np.full(SIZE, 3, np.int32)
    for i, (x1, y1, x2, y2) in enumerate(RECTANGLES.astype(int)):
        image[y1:y2, x1:x2, i] = 200
        cut[i, y1:y2, x1:x2] = 1
        segmentation[y1:y2, x1:x2] = i
    more = {"masks": cut, "segmentation": segmentation} if masks else {}
    labels, ignore = np.arange(3, dtype=np.int32), np.array([False, False, True])
    return vk.Sample(id="a", image_size=SIZE, image=image, boxes=RECTANGLES, labels=labels, ignore=ignore, **more)


def extent(pixels):
    y, x = np.nonzero(pixels)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@pytest.mark.parametrize("name", MOVING)
def test_boxes_masks_and_maps_stay_with_the_pixels(name):
    step, seen = KerasLayers(MOVING[name]()), 0
    for seed in range(8):
        bare, whole = step(sample(masks=False), seed), step(sample(), seed)
        np.testing.assert_array_equal(bare.image, whole.image)
        for found in (bare, whole):
            assert (found.ignore == (found.labels == 2)).all()
            for i in range(3):
                pixels = found.image[..., i] > 150
                at = np.flatnonzero(found.labels == i)
                assert len(at) == 1 or pixels.sum() < 20
                if len(at):
                    seen += 1
                    np.testing.assert_allclose(found.boxes[at[0]], extent(pixels), atol=1.1)
        for label, mask in zip(whole.labels, whole.masks, strict=True):
            pixels = whole.image[..., label] > 150
            assert (mask.astype(bool) != pixels).sum() <= 0.02 * pixels.sum()
            assert ((whole.segmentation == label) != pixels).sum() <= 0.02 * pixels.sum()
        assert set(np.unique(whole.segmentation)) <= {0, 1, 2, 3, 255}
        background = (whole.image == 0).all(axis=-1) & (whole.segmentation != 255)
        assert (whole.segmentation[background] == 3).mean() > 0.98
    assert seen > 20


def test_where_there_is_no_image_the_map_is_ignored():
    moved = KerasLayers(layers.RandomTranslation((0.25, 0.25), 0.0, fill_value=7.0, **CONSTANT))(sample(), 0)
    assert (moved.segmentation[:12] == 255).all() and (moved.segmentation[12:] != 255).all()
    assert (moved.image[:12] == 7).all()


@pytest.mark.parametrize("name", COLOURS)
def test_colours_move_nothing_and_the_seed_decides(name):
    arguments = {"AutoContrast": [], "Equalization": [], "RandomErasing": [], "RandomGaussianBlur": []}
    arguments |= {"Solarization": [], "RandomPosterization": [4], "RandomInvert": [1.0]}
    step = KerasLayers(getattr(layers, name)(*arguments.get(name, [0.6])))
    found = [step(sample(), seed) for seed in (*range(12), 0)]
    np.testing.assert_array_equal(found[0].image, found[-1].image)
    if name not in ("AutoContrast", "Equalization", "Solarization", "RandomPosterization"):
        assert any((one.image != found[0].image).any() for one in found)
    for key in ("boxes", "labels", "ignore", "masks", "segmentation"):
        np.testing.assert_array_equal(getattr(found[1], key), getattr(sample(), key))


def test_more_objects_than_wanted_are_left_out_with_their_masks():
    found = KerasLayers(layers.MaxNumBoundingBoxes(2))(sample(), 0)
    assert found.labels.tolist() == [0, 1] and len(found.masks) == len(found.ignore) == 2
    np.testing.assert_array_equal(found.boxes, RECTANGLES[:2])


def worst(layer):
    """By how many pixels the layer's own boxes miss their objects, called as Keras documents it."""
    distance = 0
    for _ in range(8):
        data = {"images": sample().image[None].astype(np.float32)}
        data["bounding_boxes"] = {"boxes": RECTANGLES[None], "labels": np.arange(3)[None]}
        found = keras.tree.map_structure(keras.ops.convert_to_numpy, layer(data, training=True))
        for i, box in enumerate(found["bounding_boxes"]["boxes"][0]):
            pixels = found["images"][0, ..., i] > 100
            if pixels.sum() > 20:
                distance = max(distance, np.abs(box - extent(pixels)).max())
    return distance


def test_what_is_refused_for_its_boxes_gets_them_wrong():
    """If this fails, Keras has mended them: then take them."""
    shear = layers.RandomShear(0.3, 0.2, fill_value=0.0, bounding_box_format="xyxy", seed=0, **CONSTANT)
    assert worst(shear) > 5
    assert worst(layers.RandomCrop(30, 50, bounding_box_format="xyxy", seed=0)) > 5
    assert worst(layers.RandomRotation(0.1, fill_value=0.0, bounding_box_format="xyxy", seed=0, **CONSTANT)) < 1.1


def test_every_layer_of_keras_is_taken_or_refused_by_name():
    base = type(layers.RandomFlip()).__mro__[1]
    all_layers = {name for name, one in vars(layers).items() if isinstance(one, type) and issubclass(one, base)}
    assert all_layers == {*KNOWN, *REFUSED}
    assert len(GEOMETRIC) + len(COLOURS) + 1 == len(KNOWN)
    for name, arguments in (("RandomCrop", [30, 50]), ("RandomShear", [0.1]), ("MixUp", []), ("RandAugment", [])):
        with pytest.raises(vk.DataError, match=f"augmentation: {name} of Keras .*; leave it out"):
            vk.Augment(getattr(layers, name)(*arguments), SIZE)


def test_what_would_be_wrong_in_silence_is_refused():
    cases = {
        "RandomRotation: fill_mode='reflect' shows objects twice": layers.RandomRotation(0.1),
        r"RandomBrightness: value_range is \(0, 1\)": layers.RandomBrightness(0.1, value_range=(0, 1)),
        "Dense is not a layer of Keras that keeps boxes right": layers.Dense(3),
        "set data_format='channels_last'": layers.RandomFlip(data_format="channels_first"),
    }
    for message, layer in cases.items():
        with pytest.raises(vk.DataError, match=message):
            vk.Augment([layers.RandomFlip("horizontal"), layer], SIZE)
    with pytest.raises(
        vk.DataError, match=r"sample 'a': CenterCrop failed: DataError: 60 x 50 are more than the image"
    ):
        KerasLayers(layers.CenterCrop(60, 50))(sample(), 0)


def test_layers_are_a_transform_of_recipes_and_survive_a_resume():
    pipeline = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomZoom(0.2, **CONSTANT)])
    augment = vk.Augment(pipeline, size=(32, 32))
    expected = augment(sample(), np.int64(5))
    assert expected.image.shape == (32, 32, 3) and expected.image_size == (32, 32)
    saved = json.loads(json.dumps(saved_form(pipeline)))
    assert saved == saved_form(saved)
    copies = [vk.Augment(pipeline_of(saved), (32, 32)), pickle.loads(pickle.dumps(augment))]
    for copy in copies:
        found = copy(sample(), 5)
        for key in ("image", "boxes", "labels", "masks", "segmentation"):
            np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))
    with pytest.raises(vk.DataError, match="'Lambda' is no layer that is taken"):
        pipeline_of({"keras": [{"layer": "Lambda", "config": {"function": "os.system"}}]})
    with pytest.raises(vk.DataError, match="Keras does not take this RandomFlip"):
        pipeline_of({"keras": [{"layer": "RandomFlip", "config": {"how": "far"}}]})


def test_every_layer_that_is_taken_can_be_saved():
    makes = {"CenterCrop": [30, 50], "Resizing": [30, 50], "MaxNumBoundingBoxes": [2], "RandomPosterization": [4]}
    makes |= {"RandomTranslation": [0.1, 0.1]} | {name: [0.1] for name in ("RandomZoom", "RandomRotation")}
    for name in KNOWN:
        more = {"fill_mode": "constant"} if name in ("RandomTranslation", "RandomZoom", "RandomRotation") else {}
        needs = name in makes or name in ("RandomBrightness", "RandomContrast", "RandomHue", "RandomSaturation")
        needs = needs or name in ("RandomColorDegeneration", "RandomSharpness")
        layer = getattr(layers, name)(*makes.get(name, [0.1] if needs else []), **more)
        (again,) = pipeline_of(saved_form(layer))
        assert type(again) is type(layer)

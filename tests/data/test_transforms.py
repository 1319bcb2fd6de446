import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit import npboxes, resizing
from visionkit.data import render, transforms
from visionkit.data.render import Transform
from visionkit.data.shapes import shapes
from visionkit.data.transforms import Photometric
from visionkit.data.views import CentreCrop, Expand, Flip, IoUCrop, RandomResizedCrop, ScaleJitter, View
from visionkit.types import IGNORE, Sample, check_sample

SIZE = (60, 88)
ALL = {
    "full": transforms.detection_train(SIZE, vertical_flip=0.5),
    "full stretch": transforms.detection_train(SIZE, "stretch", max_expand=2.0),
    "light": transforms.detection_train(SIZE, strength="light"),
    "none": transforms.detection_train(SIZE, strength="none"),
    "eval": transforms.detection_eval(SIZE),
    "eval stretch": transforms.detection_eval(SIZE, "stretch"),
    "classification train": transforms.classification_train(SIZE),
    "classification eval": transforms.classification_eval(SIZE),
    "segmentation train": transforms.segmentation_train(SIZE),
    "segmentation eval": transforms.segmentation_eval(SIZE),
}
every = pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
DRAWN = shapes(12, (90, 120), seed=5, max_objects=8)


def rectangles(boxes, image_size, ignore=None):
    """White rectangles on black: boxes of whole pixels, their masks and their map."""
    masks = np.zeros((len(boxes), *image_size), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    shown = masks.max(axis=0, initial=0)
    return Sample(
        id="drawn",
        image_size=image_size,
        image=np.repeat(shown[..., None] * np.uint8(255), 3, axis=2),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes), dtype=np.int32),
        ignore=ignore,
        masks=masks,
        segmentation=shown.astype(np.int32),
    )


def equal(a, b):
    names = ("image", "boxes", "labels", "ignore", "masks", "segmentation")
    return a.image_size == b.image_size and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)


@st.composite
def any_sample(draw):
    h, w = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.integers(0, w - 1)), draw(st.integers(0, h - 1))
        boxes.append((x1, y1, draw(st.integers(x1 + 1, w)), draw(st.integers(y1 + 1, h))))
    ignore = draw(st.none() | st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)).map(np.array))
    return rectangles(boxes, (h, w), None if ignore is None else ignore.astype(bool))


@every
@settings(max_examples=40)
@given(sample=any_sample(), seed=st.integers(0, 2**32 - 1), with_masks=st.booleans())
def test_what_comes_out_keeps_the_conventions(transform, sample, seed, with_masks):
    if not with_masks:
        sample = replace(sample, masks=None, segmentation=None)
    result = check_sample(transform(sample, seed))
    assert result.image_size == SIZE and set(result.labels) <= set(sample.labels)
    assert ((result.boxes[:, 2:] - result.boxes[:, :2]) >= 1).all()
    if with_masks:
        assert np.isin(result.segmentation, [0, 1, IGNORE]).all() and result.masks.any(axis=(1, 2)).all()
    else:
        assert result.masks is None and result.segmentation is None
    assert (result.ignore is None) == (sample.ignore is None)


@every
def test_a_bright_square_is_where_its_box_says(transform):
    sample, found = rectangles([(50, 30, 85, 52)], (90, 120)), 0
    for seed in range(40):
        result = replace(transform, colours=())(sample, seed)
        for box, mask in zip(result.boxes, result.masks, strict=True):
            bright = (result.image.min(axis=2) > 127).astype(np.uint8)  # the fills are darker than half white
            np.testing.assert_allclose(npboxes.of_masks(bright[None])[0], box, atol=1.001)
            np.testing.assert_allclose(npboxes.of_masks(mask[None])[0], box, atol=1.001)
            found += 1
    assert found >= 25


@every
def test_masks_boxes_and_maps_of_real_outlines_stay_in_step(transform):
    kept, off = 0, []
    for sample in DRAWN:
        for seed in range(4):
            result = transform(sample, seed)
            off.append(npboxes.of_masks(result.masks) - result.boxes)
            for mask, label in zip(result.masks, result.labels, strict=True):
                assert (result.segmentation[mask == 1] == label + 1).all()
            kept += len(result.boxes)
    off = np.concatenate(off)
    # Half a pixel of the result is rounding; a star's tip that is thinner than a pixel may be lost altogether.
    assert np.mean(np.abs(off) <= 1.001) > 0.95 and np.abs(off).max() < 2.5
    assert np.abs((off[:, :2] + off[:, 2:]).mean(axis=0)).max() / 2 < 0.1  # centres do not move
    assert kept > 0.4 * 4 * sum(len(record.boxes) for record in DRAWN.records)


@every
def test_the_same_seed_gives_the_same_bits_in_any_thread(transform):
    jobs = [(sample, seed) for sample in DRAWN for seed in (1, 2)]
    alone = [transform(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: transform(*job), jobs * 3))
    assert all(equal(a, b) for a, b in zip(alone * 3, together, strict=True))
    random = transform.colours or any(not isinstance(view, CentreCrop) for view in transform.views)
    assert equal(alone[0], alone[1]) != bool(random)
    assert equal(pickle.loads(pickle.dumps(transform))(*jobs[0]), alone[0])


@pytest.mark.parametrize(
    "flip, step", [(Flip(1, 0), np.s_[:, ::-1]), (Flip(0, 1), np.s_[::-1]), (Flip(0, 0), np.s_[:])]
)
def test_a_flip_is_exact_on_images_that_are_not_square(flip, step):
    sample = DRAWN[1]
    h, w = sample.image_size
    result = Transform((h, w), views=(flip,))(sample, 0)
    np.testing.assert_array_equal(result.image, sample.image[step])
    np.testing.assert_array_equal(result.segmentation, sample.segmentation[step])
    np.testing.assert_array_equal(
        result.masks, sample.masks[(slice(None), *np.atleast_1d(step))] if flip.x else (sample.masks[:, step])
    )
    np.testing.assert_array_equal(result.boxes, npboxes.of_masks(result.masks))


def test_evaluation_resizes_to_the_bit_as_prediction_does():
    sample = DRAWN[0]
    for size in ((60, 88), (200, 100), (90, 120)):
        (new_h, new_w), (fy, fx) = resizing.letterbox_factors(sample.image_size, size)
        result = transforms.detection_eval(size)(sample, 7)
        np.testing.assert_array_equal(result.image, resizing.letterbox(sample.image, size)[0])
        np.testing.assert_allclose(result.boxes, sample.boxes * [fx, fy, fx, fy], rtol=1e-6)
        beside = np.ones(size, bool)
        beside[:new_h, :new_w] = False
        np.testing.assert_array_equal(result.segmentation == IGNORE, beside)
        stretched = transforms.detection_eval(size, "stretch")(sample, 7)
        np.testing.assert_array_equal(stretched.image, resizing.resize(sample.image, size))
        assert not (stretched.segmentation == IGNORE).any()


def test_which_boxes_a_view_keeps():
    # A view of x 0..50 of an image 100 wide: (box, kept at min_visible 0, kept at 0.7)
    cases = [
        ((10, 10, 20, 20), True, True),  # inside
        ((30, 10, 60, 20), True, False),  # centre 45 inside, two thirds left
        ((44, 10, 60, 20), False, False),  # centre 52 outside, although 3/8 are left
        ((60, 10, 70, 20), False, False),  # outside
    ]
    sample = rectangles([case[0] for case in cases], (40, 100))
    for masks in (sample.masks, None):
        for min_visible, column in ((0.0, 1), (0.7, 2)):
            transform = Transform((40, 50), views=(lambda *_: View(0, 0, 50, 40),), min_visible=min_visible)
            result = transform(replace(sample, masks=masks), 0)
            assert result.labels.tolist() == [i for i, case in enumerate(cases) if case[column]]
            np.testing.assert_array_equal(result.boxes, npboxes.clip(sample.boxes[result.labels], (40, 50)))
    crowd = replace(sample, ignore=np.ones(4, bool))  # what is not looked at need not be centred
    assert Transform((40, 50), views=(lambda *_: View(0, 0, 50, 40),), min_visible=0.7)(crowd, 0).labels.tolist() == [
        0,
        1,
        2,
    ]


def test_a_cut_box_is_tightened_to_its_mask():
    mask = np.zeros((1, 40, 100), np.uint8)
    mask[0, 10:20, 10:40] = mask[0, 10:30, 40:80] = 1  # an L: left of x 40 it is only 10 high
    sample = replace(rectangles([(10, 10, 80, 30)], (40, 100)), masks=mask)
    view = Transform((40, 46), views=(lambda *_: View(0, 0, 46, 40),))
    assert view(sample, 0).boxes.tolist() == [[10, 10, 46, 30]]
    assert Transform((25, 46), views=(lambda *_: View(0, 0, 46, 25),))(sample, 0).boxes.tolist() == [[10, 10, 46, 25]]
    low = Transform((18, 46), views=(lambda *_: View(0, 22, 46, 40),))
    assert low(replace(sample, ignore=np.array([True])), 0).boxes.tolist() == [[40, 0, 46, 8]]  # not from x 10


def test_boxes_below_one_pixel_are_dropped():
    sample = rectangles([(0, 0, 8, 80), (20, 0, 60, 80)], (100, 100))
    assert transforms.detection_eval((10, 10))(sample, 0).labels.tolist() == [1]  # 0.8 and 4 pixels wide


def test_an_object_whose_mask_is_lost_is_dropped():
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, [0, 8], [0, 8]] = 1  # two dots, both between the pixels 2, 6, 10 and 14 that a quarter of the size keeps
    sample = replace(rectangles([(0, 0, 9, 9)], (16, 16)), masks=mask)
    assert len(transforms.detection_eval((4, 4))(sample, 0).boxes) == 0
    assert len(transforms.detection_eval((4, 4))(replace(sample, masks=None), 0).boxes) == 1


def test_a_mirrored_view_is_the_mirror_image_fill_included():
    for view in (View(-37, -11, 140, 95), View(20, 10, 77, 140)):
        for mirror, step in ((Flip(1, 0), np.s_[:, ::-1]), (Flip(0, 1), np.s_[::-1])):
            plain = Transform(SIZE, "stretch", views=(lambda *_, view=view: view,))(DRAWN[2], 0)
            mirrored = Transform(SIZE, "stretch", views=(lambda *_, view=view: view, mirror))(DRAWN[2], 0)
            np.testing.assert_array_equal(mirrored.image, plain.image[step])
            np.testing.assert_array_equal(mirrored.segmentation, plain.segmentation[step])


def test_expansion_makes_the_image_smaller_on_the_mean_colour():
    sample, ratios = rectangles([(0, 0, 100, 80)], (80, 100)), []
    for seed in range(60):
        result = Transform((80, 100), views=(Expand(4.0, p=1.0),))(sample, seed)
        ratios.append(100 / (result.boxes[0][2] - result.boxes[0][0]))
        fill = np.delete(result.image.reshape(-1, 3), pixels_inside(result.boxes[0], (80, 100)), axis=0)
        assert not len(fill) or (fill == render.MEAN_COLOUR).mean() > 0.97
    assert 0.99 <= min(ratios) < 1.3 and 3.5 < max(ratios) < 4.3
    assert equal(Transform((80, 100), views=(Expand(4.0, p=0.0),))(sample, 0), Transform((80, 100))(sample, 0))


def pixels_inside(box, size):
    x1, y1, x2, y2 = np.round(box).astype(int)
    inside = np.zeros(size, bool)
    inside[y1:y2, x1:x2] = True
    return inside.ravel()


def test_the_iou_crop_keeps_its_word():
    sample = rectangles([(10, 10, 50, 40), (60, 50, 70, 60)], (90, 120))
    whole, changed = View(0, 0, 120, 90), 0
    for seed in range(200):
        view = IoUCrop(min_ious=(0.5,))(whole, sample, np.random.default_rng(seed))
        option = np.random.default_rng(seed).integers(3)
        if option == 0:
            assert view == whole
        if view == whole:
            continue
        changed += 1
        x1, y1, x2, y2 = view[:4]
        assert 0 <= x1 < x2 <= 120 and 0 <= y1 < y2 <= 90
        assert x2 - x1 >= 0.3 * 120 * 0.5**0.5 - 1 and y2 - y1 >= 0.3 * 90 * 0.5**0.5 - 1
        assert 0.47 < (x2 - x1) / 120 / ((y2 - y1) / 90) < 2.15
        assert any(x1 < cx < x2 and y1 < cy < y2 for cx, cy in ((30, 25), (65, 55)))
        if option == 2:
            assert npboxes.iou(np.array([view[:4]], np.float64), sample.boxes).max() >= 0.5
    assert changed > 70
    empty = rectangles([], (90, 120))
    assert all(IoUCrop()(whole, empty, np.random.default_rng(seed)) == whole for seed in range(10))
    crowd = replace(sample, ignore=np.ones(2, bool))
    assert all(IoUCrop()(whole, crowd, np.random.default_rng(seed)) == whole for seed in range(10))


@pytest.mark.parametrize("size", [None, (50, 50)])
def test_scale_jitter_looks_inside_or_at_everything(size):
    sample, seen = rectangles([], (90, 120)), []
    for seed in range(80):
        view = ScaleJitter(0.5, 2.0, size)(View(0, 0, 120, 90), sample, np.random.default_rng(seed))
        for low, high, side in ((view.x1, view.x2, 120), (view.y1, view.y2, 90)):
            assert (low >= 0 and high <= side) or (low <= 0 and high >= side)
        height, width = view.size
        assert width / height == pytest.approx(120 / 90 if size is None else 1, rel=0.03)
        seen.append((width, view.x1 > 0, view.x1 < 0, view.y1 > 0, view.y1 < 0))
    widths, *places = zip(*seen, strict=True)
    assert min(widths) < 75 and max(widths) > 200  # 60 and 240 are the ends
    assert all(sum(place) > 10 for place in places)


def test_the_centre_crop_is_the_centre():
    image = np.random.default_rng(0).integers(0, 256, (160, 320, 3)).astype(np.uint8)
    sample = Sample(id="a", image_size=(160, 320), image=image, label=3)
    result = transforms.classification_eval((70, 70))(sample, 0)  # 0.875 * 160 = 140 of the 160
    np.testing.assert_array_equal(result.image, resizing.resize(np.ascontiguousarray(image[10:150, 90:230]), (70, 70)))
    assert result.label == 3 and result.boxes is None


@settings(max_examples=60)
@given(h=st.integers(1, 300), w=st.integers(1, 300), seed=st.integers(0, 999))
def test_random_resized_crops_lie_inside_and_are_large_enough(h, w, seed):
    sample = Sample(id="a", image_size=(h, w))
    x1, y1, x2, y2, *_ = RandomResizedCrop((32, 64), 0.25)(View(0, 0, w, h), sample, np.random.default_rng(seed))
    assert 0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h
    if min(h, w) >= 50 and 1.5 < w / h < 2.6:  # elsewhere it may be the centre crop
        assert (x2 - x1) * (y2 - y1) > 0.24 * h * w and 1.4 < (x2 - x1) / (y2 - y1) < 2.8


def test_photometric_changes_are_those_that_it_states():
    grey, red = np.full((4, 6, 3), 120, np.uint8), np.full((4, 6, 3), (120, 50, 50), np.uint8)  # no change clips it
    levels, hues = [], []
    for seed in range(150):
        result = Photometric(p=1.0)(grey, np.random.default_rng(seed))
        assert np.ptp(result) == 0  # grey stays grey
        levels.append(int(result[0, 0, 0]))
        h = int(cv2.cvtColor(Photometric(p=1.0)(red, np.random.default_rng(seed)), cv2.COLOR_RGB2HSV)[0, 0, 0]) * 2
        hues.append((h + 180) % 360 - 180)
        assert Photometric(p=0.0)(red, np.random.default_rng(seed)) is red
    # (120 - 32) * 0.5 = 44 and (120 + 32) * 1.5 = 228 are the ends.
    assert 44 <= min(levels) < 65 and 195 < max(levels) <= 228
    assert -22 <= min(hues) < -10 and 10 < max(hues) <= 22  # +-18, and rounding where the saturation is low
    weak = [int(Photometric(0.25, p=1.0)(grey, np.random.default_rng(seed))[0, 0, 0]) for seed in range(150)]
    assert min(weak) >= 98 and max(weak) <= 144


def test_fills_keep_their_colour_under_photometric_changes():
    result = transforms.detection_train((100, 60), strength="light")(replace(DRAWN[0], masks=None), 3)
    assert (result.image[-30:] == resizing.FILL).all()


def test_albumentations_by_thread_and_only_on_pixels():
    from visionkit.data.albumentations_adapter import A, Albumentations

    noise = A.OneOf([A.GaussNoise(p=1.0), A.Blur(p=1.0)], p=1.0)
    transform = transforms.detection_train(SIZE, strength="none", extra=[Albumentations([noise])])
    transform = replace(transform, size=(240, 320))  # large enough for threads to get into each other's way
    alone = [transform(DRAWN[0], seed) for seed in range(48)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: transform(DRAWN[0], seed), range(48)))
    assert all(equal(a, b) for a, b in zip(alone, together, strict=True))
    assert not equal(alone[0], alone[1]) and equal(pickle.loads(pickle.dumps(transform))(DRAWN[0], 3), alone[3])
    with pytest.raises(TypeError, match="HorizontalFlip"):
        Albumentations([A.OneOf([A.HorizontalFlip()])])


def test_steps_of_albumentations_draw_independently_of_each_other():
    from visionkit.data.albumentations_adapter import A, Albumentations

    step = Albumentations([A.ToGray(p=0.5), A.InvertImg(p=0.5)])
    image = np.full((8, 8, 3), (90, 10, 20), np.uint8)
    results = [step(image, np.random.default_rng(seed)) for seed in range(80)]
    kinds = [2 * (np.ptp(result[0, 0]) == 0) + (result.mean() > 127) for result in results]
    assert np.bincount(kinds, minlength=4).min() >= 8  # 20 of each are expected


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="'crop'"):
        transforms.detection_eval(SIZE, "crop")
    with pytest.raises(ValueError, match="'medium'"):
        transforms.detection_train(SIZE, strength="medium")
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        transforms.detection_eval((0, 5))

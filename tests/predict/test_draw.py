"""Pictures: what must be in them can be found by its colour."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from visionkit import images
from visionkit.predict.draw import draw_detections, draw_samples_grid, draw_segmentation
from visionkit.predict.palette import INK, PAPER, colour_of, text_colour
from visionkit.types import Detections, Sample

NAMES = ["cat", "dog", "a bird with a very long name indeed"]


def detections(boxes, scores, labels, size=(240, 320), masks=None):
    boxes, labels = np.float32(boxes).reshape(-1, 4), np.int32(labels)
    return Detections(id="a", image_size=size, boxes=boxes, scores=np.float32(scores), labels=labels, masks=masks)


def grey(size=(240, 320), value=128):
    return np.full((*size, 3), value, np.uint8)


def of_colour(image, colour):
    return (image == np.array(colour)).all(axis=-1)


def test_box_is_drawn_where_it_is():
    image = grey()
    drawn = draw_detections(image, detections([[100, 60, 220, 200]], [0.9], [1]), NAMES)
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    assert (image == 128).all()  # the original is left alone
    ys, xs = of_colour(drawn, colour_of(1)).nonzero()
    assert (xs.min(), xs.max(), ys.max()) == (100, 219, 199)  # the last pixel of a continuous 220 is 219
    assert of_colour(drawn, colour_of(1))[60:200, 100].all()  # the whole left side
    assert (drawn[80:180, 110:210] == 128).all()  # nothing inside
    assert of_colour(drawn, colour_of(0)).sum() == 0


def test_score_threshold_and_nothing():
    two = detections([[10, 60, 80, 200], [100, 60, 220, 200]], [0.9, 0.2], [0, 1])
    drawn = draw_detections(grey(), two, NAMES, min_score=0.5)
    assert of_colour(drawn, colour_of(0)).any() and not of_colour(drawn, colour_of(1)).any()
    np.testing.assert_array_equal(draw_detections(grey(), detections([], [], []), NAMES), grey())


def test_the_best_lies_on_top():
    same = detections([[100, 60, 220, 200]] * 2, [0.9, 0.8], [0, 1])
    drawn = draw_detections(grey(), same, NAMES)
    assert of_colour(drawn, colour_of(0))[60:200, 100].all()


@pytest.mark.parametrize("box", [[0, 0, 320, 240], [0, 0, 4, 4], [316, 236, 320, 240], [10.4, 5.2, 10.6, 5.4]])
@pytest.mark.parametrize("size", [(240, 320), (9, 13), (700, 100)])
def test_any_box_in_any_image(box, size):
    h, w = size
    box = np.float32(box) * np.float32([w / 320, h / 240] * 2)
    drawn = draw_detections(grey(size), detections([box], [0.5], [2], size), NAMES)
    assert drawn.shape == (h, w, 3) and (drawn != 128).any()


def test_the_text_stays_inside_the_image_and_off_other_texts():
    """A box at the very top has no room above: its plate, solid in the class's colour, lies elsewhere."""
    boxes = [[40, 0, 200, 120], [42, 1, 200, 118]]
    drawn = draw_detections(grey(), detections(boxes, [0.9, 0.8], [0, 1]), NAMES)
    for label in (0, 1):
        # A plate is blended a little, so look near its colour; eroded by 5 only plates remain, lines are 2 wide.
        near = np.abs(drawn.astype(int) - colour_of(label)).max(axis=-1) < 14
        _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.erode(near.astype(np.uint8), np.ones((3, 3))))
        widest = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()]
        assert widest[cv2.CC_STAT_AREA] > 60


def test_a_text_wider_than_the_image_shows_its_beginning():
    def rows_above(x1):  # the plate lies above the box, from the image's left edge on wherever the box begins
        one = detections([[x1, 60, x1 + 20, 90]], [0.9], [2], (100, 60))
        return draw_detections(grey((100, 60)), one, NAMES)[49:57]

    assert (rows_above(2) != 128).any()
    np.testing.assert_array_equal(rows_above(2), rows_above(30))


def test_line_width_follows_the_image():
    def left_side(size):
        h, w = size
        one = detections([[w * 0.3, h * 0.3, w * 0.7, h * 0.7]], [0.9], [0], size)
        return of_colour(draw_detections(grey(size), one, NAMES), colour_of(0))[h // 2, : w // 2].sum()

    assert left_side((64, 64)) == 1
    assert left_side((480, 640)) == 3
    assert left_side((2400, 3200)) == 15


def test_masks_are_translucent():
    mask = np.zeros((1, 240, 320), np.uint8)
    mask[0, 100:150, 120:180] = 1
    drawn = draw_detections(grey(), detections([[100, 60, 220, 200]], [0.9], [0], masks=mask), NAMES)
    # 0.55 * 128 + 0.45 * the colour, at a pixel away from outline, box and text.
    expected = (0.55 * 128 + 0.45 * np.array(colour_of(0))).astype(np.uint8)
    np.testing.assert_array_equal(drawn[125, 150], expected)
    assert (drawn[80, 150] == 128).all()


def test_colours_are_stable_and_differ():
    assert colour_of(0) == (0xF4, 0x36, 0x4C) and colour_of(1) == (0x1E, 0x9B, 0xFF)
    colours = [colour_of(k) for k in range(20)]
    lab = cv2.cvtColor(np.float32(colours)[None] / 255, cv2.COLOR_RGB2LAB)[0]
    distances = {(i, j): np.linalg.norm(lab[i] - lab[j]) for i, j in itertools.combinations(range(12), 2)}
    assert min(distances.values()) > 20  # CIE 1976; about 2.3 is just noticeable
    assert len({colour_of(k) for k in range(255)}) == 255
    assert min(np.linalg.norm(lab[i] - lab[i + 1]) for i in range(19)) > 20  # neighbours beyond the first twelve too


def test_text_can_be_read():
    assert (text_colour((255, 255, 0)), text_colour((20, 20, 90))) == (INK, PAPER)


def test_segmentation_has_a_legend_of_what_occurs():
    segmentation = np.zeros((100, 300), np.int32)
    segmentation[:, 200:] = 1
    segmentation[:10] = 255
    drawn = draw_segmentation(grey((100, 300), 200), segmentation, NAMES)
    assert drawn.shape[1:] == (300, 3) and drawn.shape[0] > 100
    tinted = (0.45 * 200 + 0.55 * np.array(colour_of(0))).round()
    np.testing.assert_array_equal(drawn[50, 100], tinted)
    assert (drawn[5, 100] == 200).all()  # ignored
    legend = drawn[100:]
    columns = [of_colour(legend, colour_of(k)).any(axis=0).nonzero()[0] for k in range(3)]
    assert columns[0].size and columns[1].size and columns[2].size == 0
    assert columns[0].max() < columns[1].min()  # two thirds are class 0: it comes first
    nothing = draw_segmentation(grey((50, 60)), np.full((50, 60), 255), NAMES)
    np.testing.assert_array_equal(nothing, grey((50, 60)))


def test_grid_of_samples(tmp_path):
    boxes = np.float32([[20, 20, 80, 80], [10, 60, 50, 90]])
    one = Sample(
        id="one",
        image_size=(100, 200),
        image=grey((100, 200)),
        boxes=boxes,
        labels=np.int32([0, 1]),
        ignore=np.array([False, True]),
        masks=np.zeros((2, 100, 200), np.uint8),
    )
    two = Sample(id="two", image_size=(300, 150), image=grey((300, 150)), label=2)
    three = Sample(id="x" * 99, image_size=(8, 8), image=grey((8, 8)), segmentation=np.full((8, 8), 2, np.int32))
    draw_samples_grid([one, two, three], NAMES, tmp_path / "grid.png")
    drawn = images.read_image(tmp_path / "grid.png")
    # Cells of 400 wide and 1.4 times as high, a margin of 8 and a line of text: two columns and two rows.
    assert drawn.shape[1:] == (2 * 408, 3)
    assert of_colour(drawn[2 * (560 + 34) :], colour_of(2)).any()  # below them the legend of the map
    _, xs = of_colour(drawn, colour_of(0)).nonzero()
    assert (xs.min(), xs.max()) == (4 + 2 * 20, 4 + 2 * 80 - 1)  # the first cell's image is doubled
    assert not of_colour(drawn, colour_of(1)).any()  # the ignored object is grey


def test_captions_stand_in_place_of_ids(tmp_path):
    samples = [Sample(id=id, image_size=(60, 80), image=grey((60, 80))) for id in ("x", "y")]
    draw_samples_grid(samples, NAMES, tmp_path / "ids.png")
    draw_samples_grid(samples, NAMES, tmp_path / "same.png", captions=["x", "y"])
    draw_samples_grid(samples, NAMES, tmp_path / "other.png", captions=["x", "photo.jpg"])
    ids, same, other = (images.read_image(tmp_path / f"{name}.png") for name in ("ids", "same", "other"))
    np.testing.assert_array_equal(ids, same)
    columns = (ids != other).any(axis=(0, 2)).nonzero()[0]
    assert columns.min() >= 408  # only below the second


def test_grid_of_a_batch(tmp_path):
    pictures = np.full((2, 50, 100, 3), 127.6, np.float32)
    boxes = np.float32([[[10, 10, 40, 40], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2])
    labels = np.int32([[1, -1], [-1, -1]])
    draw_samples_grid((pictures, boxes, labels), NAMES, tmp_path / "grid.png")
    drawn = images.read_image(tmp_path / "grid.png")
    assert of_colour(drawn, colour_of(1)).any() and not of_colour(drawn, colour_of(0)).any()
    assert of_colour(drawn[:, 408:], (128, 128, 128)).any()
    with pytest.raises(ValueError, match="at least one sample"):
        draw_samples_grid([], NAMES, Path("never.png"))

"""Results as people hold them: picked from, printed, drawn, and handed to other packages."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from PIL import Image
from pycocotools.coco import COCO
from support.predictors import FakePredictor

from visionkit import images
from visionkit.types import Classification, DataError, Detections, SegmentationMap

NAMES = ("cat", "dog", "owl")
MASKS = np.zeros((3, 40, 60), np.uint8)
MASKS[0, 2:10, 4:20] = MASKS[1, 10:30, 5:25] = MASKS[2, 20:40, 30:60] = 1
FOUND = Detections(
    id="a.png",
    image_size=(40, 60),
    class_names=NAMES,
    boxes=np.float32([[4, 2, 20, 10], [5, 10, 25, 30], [30, 20, 60, 40]]),
    scores=np.float32([0.875, 0.5, 0.25]),
    labels=np.int32([2, 0, 2]),
    masks=MASKS,
)
MAP = np.zeros((40, 60), np.int32)
MAP[:, :15] = 2
SEGMENTED = SegmentationMap(id="a.png", image_size=(40, 60), class_names=NAMES, segmentation=MAP)
CLASSIFIED = Classification(id="a.png", image_size=(40, 60), class_names=NAMES, scores=np.float32([0.25, 0.125, 0.625]))
GREY = np.full((40, 60, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        *((1, [1]), (-1, [2]), (np.int64(0), [0]), (slice(1, None), [1, 2]), ([2, 0], [2, 0]), ([], [])),
        *((FOUND.scores > 0.4, [0, 1]), (FOUND.labels == 2, [0, 2]), (np.array([], int), [])),
    ],
)
def test_picking_keeps_the_fields_of_an_object_together(rows, expected):
    picked = FOUND[rows]
    assert len(picked) == len(expected) and picked.names == [NAMES[FOUND.labels[k]] for k in expected]
    for name in ("boxes", "scores", "labels", "masks"):
        np.testing.assert_array_equal(getattr(picked, name), getattr(FOUND, name)[np.array(expected, int)])
    assert (picked.id, picked.image_size, picked.class_names) == ("a.png", (40, 60), NAMES)


def test_results_are_counted_and_gone_through():
    assert len(FOUND) == 3 and [len(one) for one in FOUND] == [1, 1, 1]
    with pytest.raises(IndexError):
        FOUND[3]
    assert len(CLASSIFIED) == 3 and CLASSIFIED[2] == 0.625 and CLASSIFIED[1:].tolist() == [0.125, 0.625]
    assert CLASSIFIED.name == "owl"
    assert len(SEGMENTED) == 2 and SEGMENTED[2].sum() == 40 * 15 and SEGMENTED[2].dtype == bool
    assert SEGMENTED[:].sum(axis=(1, 2)).tolist() == [1800, 0, 600]
    np.testing.assert_array_equal(SEGMENTED[np.array([True, False, True])], SEGMENTED[[0, 2]])


def test_short_names():
    assert repr(FOUND) == "Detections('a.png', 40x60, 3 objects, best owl 0.88)"
    assert repr(FOUND[FOUND.scores > 1]) == "Detections('a.png', 40x60, 0 objects)"
    assert repr(CLASSIFIED) == "Classification('a.png', 40x60, owl 0.62)"
    assert repr(SEGMENTED) == "SegmentationMap('a.png', 40x60, 2 classes, mostly cat)"
    unnamed = Detections(id="b", image_size=(4, 4), boxes=FOUND.boxes, scores=FOUND.scores, labels=FOUND.labels)
    assert repr(unnamed) == "Detections('b', 4x4, 3 objects, best 2 0.88)"


def test_pandas():
    table = FOUND.to_pandas()
    assert isinstance(table, pandas.DataFrame) and list(table) == ["id", "class", "score", "x1", "y1", "x2", "y2"]
    assert table["class"].tolist() == ["owl", "cat", "owl"] and table["x2"].tolist() == [20, 25, 60]
    assert len(FOUND[FOUND.scores > 1].to_pandas()) == 0
    assert CLASSIFIED.to_pandas()[["class", "score"]].values.tolist() == [["owl", 0.625], ["cat", 0.25], ["dog", 0.125]]
    assert SEGMENTED.to_pandas().values.tolist() == [["a.png", "cat", 1800, 0.75], ["a.png", "owl", 600, 0.25]]


def test_cocos_records_are_read_by_pycocotools():
    truth = COCO()
    truth.dataset = {"images": [{"id": 7, "height": 40, "width": 60}], "annotations": [], "categories": []}
    truth.createIndex()
    read = truth.loadRes(FOUND.to_coco(7))
    assert [read.anns[k]["category_id"] for k in (1, 2, 3)] == [3, 1, 3]
    assert read.anns[1]["bbox"] == [4, 2, 16, 8] and read.anns[1]["score"] == 0.875
    np.testing.assert_array_equal([read.annToMask(read.anns[k]) for k in (1, 2, 3)], MASKS)
    assert [record["category_id"] for record in FOUND.to_coco(7, category_ids=[17, 18, 90])] == [90, 17, 90]


def test_supervision_gets_its_fields(monkeypatch):
    """The package itself is not among ours: it brings PyAV, whose wheel holds libraries under the GPL."""
    fake = SimpleNamespace(Detections=SimpleNamespace, Classifications=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", fake)
    given = FOUND.to_supervision()
    np.testing.assert_array_equal(given.xyxy, FOUND.boxes)
    np.testing.assert_array_equal(given.confidence, FOUND.scores)
    assert given.mask.dtype == bool and (given.mask == MASKS).all()
    assert given.class_id.tolist() == [2, 0, 2] and given.data["class_name"].tolist() == ["owl", "cat", "owl"]
    classes = CLASSIFIED.to_supervision()
    assert classes.class_id.tolist() == [0, 1, 2] and classes.confidence is CLASSIFIED.scores
    areas = SEGMENTED.to_supervision()
    assert areas.xyxy.tolist() == [[15, 0, 60, 40], [0, 0, 15, 40]] and areas.data["class_name"].tolist() == [
        "cat",
        "owl",
    ]


@pytest.mark.parametrize("result", [FOUND, CLASSIFIED, SEGMENTED], ids=lambda result: type(result).__name__)
def test_pictures(result, tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: the result has no file; call plot\(image\) with its image"):
        result.plot()
    assert result._repr_png_() is None  # a notebook shows the text
    with pytest.raises(ValueError, match=r"expected an image of \(40, 60\), found \(60, 40\)"):
        result.plot(np.zeros((60, 40, 3), np.uint8))
    drawn = np.asarray(result.plot(GREY))
    assert drawn.shape[1:] == (60, 3) and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 3
    nameless = type(result)(**{**vars(result), "class_names": ()})
    assert nameless.plot(GREY).width == 60
    images.write_image(tmp_path / "a.png", GREY)
    with_file = type(result)(**{**vars(result), "file": tmp_path / "a.png"})
    np.testing.assert_array_equal(Image.open(io.BytesIO(with_file._repr_png_())), drawn)
    (tmp_path / "a.png").unlink()
    assert with_file._repr_png_() is None


def test_a_score_for_the_picture():
    assert np.array_equal(FOUND.plot(GREY, score=0.9), GREY)
    assert not np.array_equal(FOUND.plot(GREY, score=0.6), FOUND.plot(GREY, score=0.4))


def test_a_predictor_names_the_classes_and_keeps_a_single_image_without_a_file():
    predictor = FakePredictor()
    found = predictor(GREY)
    assert found.names == ["dög", "cat"] and np.array_equal(found.image, GREY)
    assert found._repr_png_().startswith(b"\x89PNG")
    assert np.array_equal(predictor(GREY[..., 0]).image, GREY)
    assert [one.image for one in predictor([GREY, GREY])] == [None, None]
    with pytest.raises(DataError, match="4 bytes"):
        predictor(b"nope")

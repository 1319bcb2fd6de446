"""CVAT for images: boxes, polygons, masks, subsets, and what is refused by name."""

import numpy as np
import pytest
from support import tiny_data

from visionkit.data.readers import cvat as reader
from visionkit.data.readers.cvat import cvat, splits
from visionkit.types import DataError

BOX = '<box label="cat" xtl="2.0" ytl="3.0" xbr="7.0" ybr="7.5" occluded="0"><attribute name="x">1</attribute></box>'
POLYGON = '<polygon label="dog" points="2.0,3.0;7.0,3.0;7.0,7.0;2.0,7.0"/>'


def mask(values, left, top, label="cat"):
    """CVAT's run lengths: along the rows, beginning with those of 0."""
    flat = np.ravel(values)
    edges = [0, *(np.flatnonzero(np.diff(flat, prepend=0)).tolist()), flat.size]
    h, w = np.shape(values)
    rle = ", ".join(map(str, np.diff(edges)))
    return f'<mask label="{label}" rle="{rle}" left="{left}" top="{top}" width="{w}" height="{h}"/>'


def test_boxes_take_their_classes_from_the_list_of_the_task(tmp_path):
    data = cvat(tiny_data.cvat(tmp_path, BOX + POLYGON + '<tag label="sharp"/>'))
    assert data.class_names == ["dog", "cat"] and data[0].labels.tolist() == [1, 0]
    assert data[0].boxes.tolist() == [[2, 3, 7, 7.5], [2, 3, 7, 7]] and data[0].masks is None
    with pytest.raises(DataError, match="box 1: 'cat' is not among its classes"):
        cvat(tiny_data.cvat(tmp_path, BOX, labels=("dog",)))


@pytest.mark.parametrize("left,top", [(0, 0), (35, 26), (10, 0), (3, 5)])
def test_masks_of_random_shapes_lie_where_they_were_drawn(tmp_path, left, top):
    for seed, (h, w) in enumerate([(4, 5), (1, 1), (30 - top, 1), (1, 40 - left), (30 - top, 40 - left)]):
        values = (np.random.default_rng(seed).random((h, w)) < 0.5).astype(np.uint8)
        values[0], values[:, -1] = 1, 1  # so that the box is tight
        data = cvat(tiny_data.cvat(tmp_path, mask(values, left, top) + POLYGON))
        expected = np.zeros((30, 40), np.uint8)
        expected[top : top + h, left : left + w] = values
        np.testing.assert_array_equal(data[0].masks[0], expected)
        assert data[0].boxes[0].tolist() == [left, top, left + w, top + h] and data[0].masks[1].sum() == 20


def test_subsets_are_splits_but_default_is_none(tmp_path):
    assert splits(tiny_data.cvat(tmp_path / "a", BOX, attributes='subset="Train"')) == ["Train"]
    assert len(cvat(tmp_path / "a", "train")) == 1
    assert splits(tiny_data.cvat(tmp_path / "b", BOX, attributes='subset="default"')) == [""]


@pytest.mark.parametrize(
    "shape,message",
    [
        (
            '<ellipse label="cat" cx="9" cy="9" rx="3" ry="3"/>',
            "a shape .ellipse.; only boxes, polygons and masks are read",
        ),
        (BOX.replace("occluded", 'rotation="30" occluded'), "a rotated box; only upright ones are read"),
        ('<polygon label="cat" points="1,2;3,4"/>', "polygon 1: expected points x,y;x,y;x,y, found '1,2;3,4'"),
        (mask(np.ones((4, 4)), 38, 0), "mask 1: 38 0 42 4 leaves the image of 40 x 30"),
        ('<mask label="cat" rle="1, 2" left="1" top="1" width="4" height="4"/>', "cover 4 x 4, found 3 pixels"),
        (
            '<mask label="cat" rle="99999999" left="0" top="0" width="9999" height="10001"/>',
            "0 0 9999 10001 leaves the image of 40 x 30",
        ),
        ("<track/>", None),
    ],
)
def test_other_shapes_are_refused_by_name(tmp_path, shape, message):
    root = tiny_data.cvat(tmp_path, shape)
    if message is None:
        tiny_data.text(root / "annotations.xml", '<annotations><track id="0" label="cat"></track></annotations>')
        message = "CVAT for video; export it as CVAT for images"
    with pytest.raises(DataError, match=message):
        cvat(root)


def test_entities_depth_and_masses_of_tags_are_refused(tmp_path, monkeypatch):
    root = tiny_data.cvat(tmp_path, BOX)
    good = (root / "annotations.xml").read_text()
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + good.replace("a.png", "&a;")
    monkeypatch.setattr(reader, "_MOST_TAGS", 1000)
    for text in (
        bomb,
        good.replace(BOX, "<a>" * 200),
        good.replace(BOX, "<a/>" * 2000),
        good.replace("<meta>", "<a/>" * 2000),
    ):
        tiny_data.text(root / "annotations.xml", text)
        with pytest.raises(DataError, match=r"annotations\.xml: (refused|broken) XML"):
            cvat(root)
    tiny_data.text(root / "annotations.xml", good.replace("<image", '<image id="1" name="a.png"></image><image', 1) * 1)
    with pytest.raises(DataError, match="was already described in"):
        cvat(root)

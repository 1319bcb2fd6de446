"""Repairing boxes and telling of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from support import tiny_data

from visionkit.data.recognise import open_dataset
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample, check_sample


@given(arrays(np.float32, (5, 4), elements=st.floats(-50, 80, width=32)))
def test_what_is_left_keeps_the_conventions_and_nothing_is_lost_silently(boxes):
    repairs = Repairs("test")
    left, rows = repairs.apply(boxes, (30, 40), "a")
    check_sample(Sample(id="a", image_size=(30, 40), boxes=left, labels=np.zeros(len(left), np.int32)))
    assert len(left) + sum(f.kind != "clipped" for f in repairs.findings) == 5
    whole = (boxes >= 0).all(1) & (boxes[:, 2:] <= [40, 30]).all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)
    assert set(np.flatnonzero(whole)) <= set(rows)
    np.testing.assert_array_equal(left[whole[rows]], boxes[whole])


def test_nothing_to_say_and_many_to_name(caplog):
    repairs = Repairs("test")
    repairs.apply(np.array([[0, 0, 40.4, 30]]), (30, 40), "rounding")
    repairs.warn()
    assert not caplog.messages
    for i in range(7):
        repairs.apply(np.array([[1, 1, 1, 9], [1, 1, 9, 1]]), (30, 40), f"i{i}")
    repairs.warn()
    assert caplog.messages == ["test: 14 boxes dropped (zero area: i0, i1, i2, i3, i4 and 2 more images)"]


def test_a_link_out_of_the_folder_is_refused_and_a_linked_folder_is_not(tmp_path):
    """For every reader: data from a stranger does not point at this machine's files."""
    secret = tiny_data.picture(tmp_path / "elsewhere" / "secret.png")
    tiny_data.mask(tmp_path / "elsewhere" / "mask.png", np.ones((30, 40)))
    roots = {
        "detect": [
            tiny_data.voc(tmp_path / "voc", {"a": [("cat", 1, 1, 9, 9)]}) / "JPEGImages" / "a.png",
            tiny_data.coco(tmp_path / "coco", tiny_data.coco_dict([])) / "images" / "a.png",
            tiny_data.yolo(tmp_path / "yolo", {"a": "0 .5 .5 .2 .2"}) / "images" / "a.png",
        ],
        "classify": [tiny_data.picture(tmp_path / "cls" / name / "a.png") for name in ("ant", "bee")][:1],
        "segment": [tmp_path / "seg" / "images" / "a.png"],
    }
    tiny_data.pair(tmp_path / "seg" / "images", tmp_path / "seg" / "masks", "a", np.ones((30, 40)))
    for task, files in roots.items():
        for file in files:
            root = file.parents[1]
            real = file.parent.rename(tmp_path / f"real_{root.name}")
            file.parent.symlink_to(real)
            assert open_dataset(root, task=task)[0].image.shape == (30, 40, 3)
            file.unlink()
            file.symlink_to(secret)
            with pytest.raises(DataError, match=r"a\.png is a link to .*secret\.png, outside the data set"):
                open_dataset(root, task=task)
    label = tmp_path / "voc" / "Annotations" / "a.xml"
    (tmp_path / "voc" / "JPEGImages" / "a.png").unlink()
    tiny_data.picture(tmp_path / "voc" / "JPEGImages" / "a.png")
    label.rename(tmp_path / "elsewhere" / "a.xml")
    label.symlink_to(tmp_path / "elsewhere" / "a.xml")
    with pytest.raises(DataError, match=r"a\.xml is a link to"):
        open_dataset(tmp_path / "voc")


def test_collecting_leaves_out_what_is_wrong_and_reads_the_rest(tmp_path):
    boxes = [("cat", 2, 2, 9, 9), ("cat", 9, 9, 4, 12), ("cat", 1, 1, "x", 9)]
    root = tiny_data.voc(tmp_path, {"a": boxes, "b": [], "c": [("cat", 2, 2, 9, 9)]})
    tiny_data.text(root / "Annotations" / "b.xml", "<annotation>")
    (root / "JPEGImages" / "c.png").write_bytes(b"no picture")
    repairs = Repairs("voc", collect=True)
    data = open_dataset(root, repairs=repairs)
    assert [(r.id, len(r.boxes)) for r in data.records] == [("a", 1)]
    assert {(f.kind, f.id) for f in repairs.findings} == {
        ("broken annotation", "a"),
        ("broken annotation", "b"),
        ("broken image", "c"),
        ("corners in the wrong order", "a"),
    }

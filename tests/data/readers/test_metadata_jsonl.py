"""Hugging Face's metadata.jsonl: boxes and classes."""

import pytest
from support import tiny_data

from visionkit.data.readers.metadata_jsonl import metadata_jsonl, splits
from visionkit.types import DataError


def test_parallel_lists_and_lists_of_objects_are_read_and_numbers_are_sorted_as_such(tmp_path):
    parallel = {"bbox": [[2, 3, 5, 4], [0, 0, 1.5, 2]], "category": [10, 9], "area": [20, 3]}
    lines = [
        {"file_name": "train/a.png", "objects": parallel},
        {"file_name": "test/b.png", "objects": [{"bbox": [1, 1, 2, 2], "label": 2}]},
        {"file_name": "test/c.png", "objects": {"bbox": [], "category": []}},
    ]
    data = metadata_jsonl(tiny_data.jsonl(tmp_path, lines))
    assert data.class_names == ["2", "9", "10"] and splits(tmp_path) == ["train", "test"]
    assert data[0].boxes.tolist() == [[2, 3, 7, 7], [0, 0, 1.5, 2]] and data[0].labels.tolist() == [2, 1]
    assert [r.id for r in metadata_jsonl(tmp_path, "test").records] == ["test/b", "test/c"]
    assert data[2].boxes.shape == (0, 4)


def test_labels_are_classes_of_images(tmp_path):
    lines = [{"file_name": "a.png", "label": "dog"}, {"file_name": "b.png", "label": "cat"}]
    data = metadata_jsonl(tiny_data.jsonl(tmp_path, lines))
    assert data.class_names == ["cat", "dog"] and [r.label for r in data.records] == [1, 0]
    with pytest.raises(DataError, match=r"some lines of metadata\.jsonl have objects and others a label"):
        metadata_jsonl(tiny_data.jsonl(tmp_path, [*lines, {"file_name": "c.png", "objects": []}]))


@pytest.mark.parametrize(
    "line,message",
    [
        ({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": []}}, "two lists of one length"),
        ({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3]], "categories": ["x"]}}, "object 0: expected bbox"),
        ({"file_name": "a.png", "objects": {"bbox": [[1, 2, 3, 4]], "categories": [None]}}, "the name of a class"),
        ({"file_name": "a.png", "text": "a cat"}, "label: expected the name of a class, found 'None'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, line, message):
    with pytest.raises(DataError, match=rf"metadata\.jsonl:1: .*{message}"):
        metadata_jsonl(tiny_data.jsonl(tmp_path, [line]))


def test_a_file_outside_or_a_missing_one_is_refused(tmp_path):
    root = tiny_data.jsonl(tmp_path / "data", [{"file_name": "a.png", "label": "x"}])
    tiny_data.picture(tmp_path / "secret.png")
    for name, message in (
        ("../secret.png", "is not the name of a file inside"),
        ("no.png", "there is no image 'no.png'"),
    ):
        tiny_data.text(root / "metadata.jsonl", f'{{"file_name": "{name}", "label": "x"}}')
        with pytest.raises(DataError, match=rf"metadata\.jsonl:1: file_name: .*{message}"):
            metadata_jsonl(root)

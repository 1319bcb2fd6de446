"""The reader of TensorFlow.js files on files that are written here, broken ones among them."""

import json

import numpy as np
import pytest

from visionkit.types import DataError
from visionkit.weights.tfjs import read_tfjs_file

FLOATS = np.float32([[1.5, -2], [0.25, 1024]])


def written(folder, changes=(), data=None, paths=("a.bin", "b.bin"), **manifest):
    """A model of four tensors in two binary files, the second tensor cut in two by them."""
    entries = [
        {"name": "plain", "shape": [2, 2], "dtype": "float32"},
        {"name": "half", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {
            "name": "bytes",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
        },
        {"name": "whole", "shape": [], "dtype": "int32"},
    ]
    for number, change in dict(changes).items():
        entries[number] |= change
    parts = [FLOATS.tobytes(), FLOATS.astype("<f2").tobytes(), bytes([0, 2, 255]), np.int32(-7).tobytes()]
    data = b"".join(parts) if data is None else data
    (folder / "a.bin").write_bytes(data[:20])
    (folder / "b.bin").write_bytes(data[20:])
    groups = {"weightsManifest": [{"paths": list(paths), "weights": entries}]} | manifest
    (folder / "model.json").write_text(json.dumps(groups))
    return folder / "model.json"


def test_every_kind_of_number_is_read(tmp_path):
    tensors = read_tfjs_file(written(tmp_path))
    assert list(tensors) == ["plain", "half", "bytes", "whole"]
    np.testing.assert_array_equal(tensors["plain"], FLOATS)
    np.testing.assert_array_equal(tensors["half"], FLOATS)
    assert tensors["bytes"].tolist() == [-1, 0, 126.5]
    assert tensors["whole"].shape == () and tensors["whole"] == -7
    assert [t.dtype for t in tensors.values()] == [np.float32] * 3 + [np.int32]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": b"x" * 30}, "bytes: its .3. end at byte 27 of 30|whole: its .. end at byte 31 of 30"),
        ({"data": b"x" * 32}, "the tensors take 31 bytes, but there are 32"),
        ({"changes": {0: {"shape": [2**62, 2**62]}}}, "plain: its .* end at byte"),
        ({"changes": {0: {"shape": [-2, -2]}}}, "plain: expected a shape of whole numbers of 0 or more"),
        ({"changes": {0: {"shape": [2.0, 2]}}}, "plain: expected a shape of whole numbers of 0 or more"),
        ({"changes": {0: {"dtype": "string"}}}, "plain: expected float32, int32 or bool, found string"),
        ({"changes": {1: {"quantization": {"dtype": "object"}}}}, "half: .* found float32 stored as object"),
        ({"changes": {2: {"quantization": {"dtype": "uint8"}}}}, "not the weights of a TensorFlow.js model .KeyError"),
        ({"changes": {0: {"shape": 4}}}, "not the weights of a TensorFlow.js model .TypeError"),
        ({"paths": ["../a.bin", "b.bin"]}, "expected the name of a file beside it, found '../a.bin'"),
        ({"paths": ["/etc/passwd"]}, "expected the name of a file beside it, found '/etc/passwd'"),
        ({"paths": ["a.bin", "c.bin"]}, "c.bin cannot be read .No such file"),
        ({"weightsManifest": []}, "it holds no tensors"),
        ({"weightsManifest": 3}, "not the weights of a TensorFlow.js model .TypeError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, change, message):
    with pytest.raises(DataError, match=f"model.json: ({message})"):
        read_tfjs_file(written(tmp_path, **change))


def test_other_json_and_no_json_are_refused(tmp_path):
    for text in ("[]", "{}", "not json", "[" * 100_000, '"weightsManifest"'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(DataError, match=r"model\.json: not the weights of a TensorFlow\.js model"):
            read_tfjs_file(tmp_path / "model.json")


def test_a_file_of_any_size_is_not_read(tmp_path):
    file = written(tmp_path)
    with (tmp_path / "b.bin").open("r+b") as binary:
        binary.truncate(2**31)  # of holes: it takes no room
    with pytest.raises(DataError, match=r"b\.bin has 2147483648 bytes; models up to 1073741824 bytes are read"):
        read_tfjs_file(file)

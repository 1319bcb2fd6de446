"""Numbers of objects in videos: they last through crossings and gaps, and reach the lines and the pictures."""

import json
import sys

import cv2
import numpy as np
import pytest

from visionkit.cli import main
from visionkit.predict import draw
from visionkit.predict.predictor import Predictor
from visionkit.predict.tracking import Tracks
from visionkit.predict.video import detect_video
from visionkit.types import DataError, Detections


def frame(*objects):
    """Detections of 30 x 40 pixels at (x, y), each with its label."""
    boxes = np.float32([(x, y, x + 30, y + 40) for x, y, _ in objects]).reshape(-1, 4)
    labels = np.int32([label for _, _, label in objects])
    scores = np.full(len(objects), 0.9, np.float32)
    return Detections(id="frame", image_size=(200, 400), boxes=boxes, labels=labels, scores=scores)


def test_two_that_cross_keep_their_numbers_in_whatever_order_they_come():
    tracks, rng, seen = Tracks(25), np.random.default_rng(0), []
    for t in range(60):
        objects = [(5 * t, 20, 0), (300 - 5 * t, 45, 0)]  # they overlap in the middle
        order = rng.permutation(2)
        numbers = tracks(frame(*(objects[i] for i in order)))
        seen.append(tuple(numbers[i] for i in np.argsort(order)))
    assert set(seen) in ({(1, 2)}, {(2, 1)})


def test_one_that_is_lost_for_a_while_keeps_its_number_and_not_for_ever():
    def numbers(gap):
        tracks, seen = Tracks(25), []
        for t in range(30 + gap + 10):
            lost = 30 <= t < 30 + gap
            seen.append(tracks(frame() if lost else frame((4 * t, 50, 1))))
        return [found for found in seen if found]

    assert numbers(gap=12) == [[1]] * 40  # it has moved on by 48 pixels meanwhile, more than its width
    assert numbers(gap=40) == [[1]] * 30 + [[2]] * 10


def test_another_class_is_another_object():
    tracks = Tracks(25)
    assert [tracks(frame((50, 50, label))) for label in (0, 0, 1, 0)] == [[1], [1], [2], [1]]
    assert Tracks(25)(frame()) == []


class Squares:
    """A model that finds white squares on black, in the order in which OpenCV numbers them."""

    image_size, resize, class_names, task = (96, 128), "stretch", ("square",), "detect"

    def serving(self):
        return self

    def predict_on_batch(self, batch):
        outputs = {"boxes": np.zeros((len(batch), 3, 4)), "scores": np.zeros((len(batch), 3))}
        outputs["labels"] = np.full((len(batch), 3), -1)
        for i, image in enumerate(batch):
            _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 128).astype(np.uint8))
            for k, (x, y, w, h, _) in enumerate(stats[1:4]):
                outputs["boxes"][i, k] = x, y, x + w, y + h
                outputs["scores"][i, k], outputs["labels"][i, k] = 0.9 - 0.1 * k, 0
        return {name: value.astype(np.int32 if name == "labels" else np.float32) for name, value in outputs.items()}


def test_the_lines_and_the_pictures_of_a_film_have_the_numbers(tmp_path, monkeypatch):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (128, 96))
    for t in range(36):  # one square falls while the other rises, so that their order changes
        image = np.zeros((96, 128, 3), np.uint8)
        for x, y in ((20, 4 + 2 * t), (80, 76 - 2 * t)):
            image[y : y + 16, x : x + 20] = 255
        writer.write(image)
    writer.release()
    texts, real = [], draw._draw
    monkeypatch.setattr(draw, "_draw", lambda *args: (texts.extend(args[2]), real(*args))[1])
    detect_video(Predictor(Squares(), batch_size=4), tmp_path / "a.avi", tmp_path / "out", progress=False, track=True)
    rows = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    sides = {(item["id"], item["box"][0] < 64) for row in rows for item in row["objects"]}
    assert len(rows) == 36 and all(len(row["objects"]) == 2 for row in rows)
    assert len(sides) == 2 and {number for number, _ in sides} == {1, 2}  # one left, one right, from start to end
    assert {text.rsplit(" ", 1)[0] for text in texts} == {"#1 square", "#2 square"}
    detect_video(Predictor(Squares(), batch_size=4), tmp_path / "a.avi", tmp_path / "plain", progress=False)
    assert "id" not in json.loads((tmp_path / "plain" / "a.jsonl").read_text().splitlines()[0])["objects"][0]


def test_tracking_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").write_bytes(b"")
    command = ["detect", str(tmp_path), str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "out"), "--track"]
    assert main(command) == 1
    assert "--track is for a video or a camera; leave it out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "norfair", None)
    command[2] = str(tmp_path / "film.mp4")
    assert main(command) == 1
    assert "--track: norfair is not installed; it comes with visionkit's extra track" in capsys.readouterr().err
    with pytest.raises(DataError, match="norfair is not installed"):
        Tracks(25)

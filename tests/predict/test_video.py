"""Videos: every frame once and in order, drawn and written, and what is no video is named."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.browser import needs_browser
from support.chromium import browser
from support.predictors import FakePredictor

from visionkit import videos
from visionkit.predict.video import _frames, detect_video, is_video
from visionkit.types import DataError
from visionkit.videos import writer_to


def film(file, count=21, size=(48, 64), colour=(1, 1, 1), codec="mp4v"):
    """A video, grey unless another `colour` (RGB, 0..1) is given, that gets lighter by 10 levels a frame."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*codec), 10, size[::-1])
    for i in range(count):
        writer.write(np.full((*size, 3), 10 * i * np.array(colour[::-1]), np.uint8))
    writer.release()
    return file


class Looking(FakePredictor):
    """Gives the middle pixel of the network's image as the second object's score, so that frames can be told apart."""

    def __init__(self):
        super().__init__()
        run = self._serving.predict_on_batch

        def see(batch):
            outputs = run(batch)
            outputs["scores"][:, 1] = batch[:, 4, 4, 0] / 510
            return outputs

        self._serving.predict_on_batch = see


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_frame_is_in_the_lines_and_in_the_video(tmp_path):
    report = detect_video(Looking(), film(tmp_path / "a.mp4"), tmp_path / "out", score=0.0, progress=False)
    assert (report.done, report.failed) == (21, [])
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.jsonl", "a.webm"]
    rows = lines(tmp_path / "out" / "a.jsonl")
    assert [row["frame"] for row in rows] == list(range(21)) and rows[-1]["seconds"] == 2.0
    assert rows[0]["size"] == [48, 64]
    assert rows[0]["objects"][0] == {"label": 1, "score": 0.75, "box": [0.0, 0.0, 32.0, 48.0], "class": "dög"}
    seen = [row["objects"][1]["score"] * 510 for row in rows[1:]]
    np.testing.assert_allclose(seen, 10 * np.arange(1, 21), atol=6)  # in order; the codec moves levels a little
    capture, written = cv2.VideoCapture(str(tmp_path / "out" / "a.webm")), []
    while (frame := capture.read())[0]:
        written.append(frame[1])
    assert len(written) == 21 and written[0].shape == (48, 64, 3)
    plain = [frame[20:28, 52:60].mean() for frame in written]  # right of the object's box
    np.testing.assert_allclose(plain, 10 * np.arange(21), atol=12)
    assert np.ptp(written[10][:, :36], axis=(0, 1)).max() > 60  # the box


def test_colours_go_through_as_they_are(tmp_path):
    predictor, seen = FakePredictor(), []
    run = predictor._serving.predict_on_batch
    predictor._serving.predict_on_batch = lambda batch: (seen.extend(batch[:, 4, 4].tolist()), run(batch))[1]
    detect_video(predictor, film(tmp_path / "a.mp4", colour=(1, 0.5, 0)), tmp_path / "out", progress=False)
    np.testing.assert_allclose(seen[20], (200, 100, 0), atol=15)
    capture = cv2.VideoCapture(str(tmp_path / "out" / "a.webm"))
    written = [capture.read()[1] for _ in range(21)]
    np.testing.assert_allclose(written[20][20:28, 52:60].mean(axis=(0, 1)), (0, 100, 200), atol=15)  # BGR


def test_frames_without_a_video(tmp_path):
    source = film(tmp_path / "a.mp4")
    report = detect_video(FakePredictor(), source, tmp_path / "out", frames=5, progress=False, pictures=False)
    assert report.done == 5 and [f.name for f in (tmp_path / "out").iterdir()] == ["a.jsonl"]
    assert len(lines(tmp_path / "out" / "a.jsonl")) == 5


def test_an_interrupt_keeps_what_is_done(tmp_path):
    predictor = FakePredictor()
    run, calls = predictor._serving.predict_on_batch, []

    def interrupted(batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(batch)

    predictor._serving.predict_on_batch = interrupted
    report = detect_video(predictor, film(tmp_path / "a.mp4"), tmp_path / "out", progress=False)
    rows = lines(tmp_path / "out" / "a.jsonl")
    assert 0 < len(rows) == report.done <= 6 and not report.failed  # the film is whole
    assert cv2.VideoCapture(str(tmp_path / "out" / "a.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == report.done


def test_what_is_no_video_is_named(tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DataError, match=r"text\.mp4: not a video that can be read"):
        detect_video(FakePredictor(), tmp_path / "text.mp4", tmp_path / "out")
    with pytest.raises(DataError, match=r"gone\.mp4: no such file"):
        detect_video(FakePredictor(), tmp_path / "gone.mp4", tmp_path / "out")
    with pytest.raises(DataError, match="camera:97: no such camera"):
        detect_video(FakePredictor(), "camera:97", tmp_path / "out")
    with pytest.raises(DataError, match="would overwrite its source"):
        detect_video(FakePredictor(), film(tmp_path / "a.webm", codec="VP80"), tmp_path, progress=False)
    assert not (tmp_path / "out").exists()
    assert not is_video(tmp_path / "camera") and is_video("camera")
    monkeypatch.chdir(tmp_path)
    Path("camera").mkdir()
    assert not is_video("camera")  # a folder of photos
    Path("camera").rmdir()
    assert [is_video(name) for name in ("camera", "camera:1", "a.MP4", "camera:x", "a.jpg")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize("theirs", ["a.webm", "a.jsonl", "results.jsonl"])
def test_files_of_others_are_not_overwritten(tmp_path, theirs):
    source = film(tmp_path / ("results.avi" if theirs == "results.jsonl" else "a.avi"))
    out = tmp_path / "out"
    for _ in range(2):
        detect_video(FakePredictor(), source, out, progress=False)  # a second time over its own
    for file in out.iterdir():
        file.unlink()
    (out / theirs).write_text('{"settings": null}')
    with pytest.raises(DataError, match=f"{theirs}: was not written by an earlier run and would be lost"):
        detect_video(FakePredictor(), source, out, progress=False)
    assert [file.name for file in out.iterdir()] == [theirs]


def test_any_rate_can_be_written(tmp_path):
    for rate in (29.97, 66.123, 119.976, 999.9):
        writer = writer_to(tmp_path / "a.webm", (48, 64), rate)
        for _ in range(5):
            writer.write(np.zeros((48, 64, 3), np.uint8))
        writer.release()
        written = cv2.VideoCapture(str(tmp_path / "a.webm"))
        assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=2e-4)
        assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_opencv_says_nothing_and_frames_too_small_for_a_film_are_named(tmp_path, capfd):
    writer_to(tmp_path / "a.webm", (48, 64), 25).release()
    with pytest.raises(DataError, match=r"b\.webm: frames of 64 x 2 pixels cannot be written as a film"):
        writer_to(tmp_path / "b.webm", (2, 64), 25)
    print("heard", file=sys.stderr)
    assert capfd.readouterr().err == "heard\n"


def test_where_opencv_writes_nothing_for_browsers_it_is_said(monkeypatch):
    monkeypatch.setattr(videos, "CODECS", {".webm": "????", ".mp4": "????"})
    videos.film_suffix.cache_clear()
    with pytest.raises(DataError, match=r"writes neither WebM \(VP8\) nor MP4 \(H\.264\)"):
        videos.film_suffix()
    monkeypatch.undo()
    assert videos.film_suffix() == ".webm"


@needs_browser
def test_a_browser_plays_the_film_to_its_end(tmp_path):
    detect_video(FakePredictor(), film(tmp_path / "a.mp4", colour=(1, 0.5, 0)), tmp_path / "out", progress=False)
    page = '<!doctype html><link rel="icon" href="data:,"><video id="film" src="out/a.webm" muted></video>'
    (tmp_path / "page.html").write_text(page)
    with browser(tmp_path) as tab:
        tab.open((tmp_path / "page.html").as_uri())
        tab.run("film.play()")
        tab.wait("film.ended")
        assert tab.run("[film.videoWidth, film.videoHeight]") == [64, 48]
        assert tab.run("film.duration") == pytest.approx(2.1, abs=0.11)
        assert tab.run("film.getVideoPlaybackQuality().totalVideoFrames") >= 10  # a slow machine may skip some
        shown = tab.picture(tmp_path / "shot.png")[8 + 24, 8 + 56]  # the page's margin, and right of the object's box
        np.testing.assert_allclose(shown, (200, 100, 0), atol=20)
        assert tab.console == []


def test_seconds_are_the_frames_own():
    class Film:
        def read(self):
            return True, np.zeros((2, 2, 3), np.uint8)

    def seconds(times, rate):
        return [at for _, at in _frames(Film(), iter(times).__next__, rate, len(times))]

    assert seconds([0.5, 0.6, 1.6], 25.0) == pytest.approx([0, 0.1, 1.1])
    assert seconds([0.0, 0.0, 0.0], 25.0) == pytest.approx([0, 0.04, 0.08])  # a file that does not say

"""The server's page in a browser: an image is dropped, and its boxes are seen. No script but the page's own can run."""

import base64
import hashlib
import re

import numpy as np
import pytest
from support.browser import COLOURS, needs_browser
from support.chromium import browser
from support.predictors import FakePredictor
from support.servers import ask, running

from visionkit.images import write_image
from visionkit.predict.predictor import Predictor
from visionkit.serve.application import Application


class Segmenter:
    """The lower quarter of every image is sea."""

    image_size, resize, class_names, task = (8, 8), "stretch", ("sky", "<img src=x onerror=alert(1)>"), "segment"

    def serving(self):
        return self

    def predict_on_batch(self, batch):
        sea = np.tile((np.arange(8) >= 6).astype(np.float32)[:, None], (len(batch), 1, 8))
        return {"probabilities": np.stack([1 - sea, sea], axis=-1)}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


def photo(file):
    """A photograph of noise, 300 x 400."""
    write_image(file, np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8))
    return file


def test_only_the_pages_own_script_and_style_can_run():
    application = Application(FakePredictor(), megabytes=1)
    with running(application) as port:
        _, page, headers = ask(port, "GET", "/")
    application.close()
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'" in policy
    assert not re.search(rb"""(src|href)=["']?(https?:)?//|\son[a-z]+=|\sstyle=""", page)  # nothing from elsewhere


def seen(tab, selector):
    """[x, y, width, height] of an element in the window."""
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    return tab.run(f"(({{x, y, width, height}}) => [x, y, width, height])({box})")


@needs_browser
def test_a_dropped_image_is_shown_with_its_boxes(tab, tmp_path):
    boxes = "['x', 'y', 'width', 'height'].map(name => +rect.getAttribute(name))"
    boxes = f"[...document.querySelectorAll('#boxes rect')].map(rect => {boxes})"
    application = Application(FakePredictor(), megabytes=1)
    with running(application) as port:
        tab.open(f"http://127.0.0.1:{port}/")
        tab.wait("document.querySelector('output').textContent === '0.3'")
        assert "cat, dög (2 classes)" in tab.text("#about")
        tab.drop([photo(tmp_path / "ä photo.jpg")], 300, 600)
        tab.wait("document.body.dataset.done === '1'")
        assert tab.run(boxes) == [[0, 0, 200, 300]]
        assert (tab.text("#boxes text"), tab.text("#line")) == ("dög 75 %", "1 object")
        x, y, width, height = seen(tab, "#photo")
        assert seen(tab, "#boxes rect") == pytest.approx([x, y, width / 2, height], abs=2)  # the left half of the photo
        picture = tab.picture(tmp_path / "shot.png")
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > COLOURS
        tab.run("score.value = 0.1; score.dispatchEvent(new Event('input'))")
        assert tab.run(boxes) == [[0, 0, 400, 300], [0, 0, 200, 300]]  # the best one is on top

        (tmp_path / "notes.txt").write_text("some notes")
        tab.drop([tmp_path / "notes.txt"], 300, 600)
        tab.wait("line.className === 'error'")
        assert "10 bytes: is not an image that can be read" in tab.text("#line")
        assert tab.run("document.querySelector('main').hidden")
        (tmp_path / "large.jpg").write_bytes(bytes(2**20 + 1))
        tab.drop([tmp_path / "large.jpg"], 300, 600)
        tab.wait("line.textContent.includes('larger than 1 MB')")
        assert [line for line in tab.console if "400 (Bad Request)" not in line] == []  # which the browser notes itself
    application.close()


@needs_browser
def test_a_segmenters_map_lies_over_the_image_and_names_are_only_text(tab, tmp_path):
    application = Application(Predictor(Segmenter(), batch_size=1))
    with running(application) as port:
        tab.open(f"http://127.0.0.1:{port}/", (700, 390), dark=True)
        tab.wait("about.textContent.includes('2 classes')")
        tab.drop([photo(tmp_path / "photo.png")], 100, 200)
        tab.wait("document.body.dataset.done === '1' && map.naturalWidth === 400")
        cells = tab.run("[...document.querySelectorAll('#found td')].map(cell => cell.textContent)")
        assert cells[::2] == ["sky", Segmenter.class_names[1]] and cells[1].startswith("7")
        assert tab.picture(tmp_path / "shot.png")[0, 0].mean() < 60  # dark paper
        assert tab.console == []
    application.close()

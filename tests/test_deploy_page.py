"""docs/deploy.md does what it says: its commands are run in order, in a folder as a user would have it."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys

import pytest
from support.command_line import visionkit
from support.exports import detector
from support.paths import ROOT

from visionkit.data.shapes import shapes
from visionkit.images import read_image, write_image

PAGE = (ROOT / "docs" / "deploy.md").read_text()
pytestmark = pytest.mark.slow
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S)).splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("user")
    (root / "runs" / "first").mkdir(parents=True)
    detector().save(root / "runs" / "first" / "model.keras")
    for i, sample in enumerate(shapes(3, (96, 128), seed=5)):
        write_image(root / "photos" / f"{i}.jpg", sample.image)
    (root / "notes.txt").write_text("these are some notes")
    return root


@pytest.fixture(scope="module")
def done(folder):
    """What each command printed; the server runs until all are done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    printed, server = {}, None
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        for command in COMMANDS:
            words = shlex.split(command.replace("8080", port))
            if words[:2] == ["visionkit", "serve"]:
                program = [sys.executable, "-m", *words]
                server = subprocess.Popen(program, cwd=folder, env=environment, text=True, stderr=subprocess.PIPE)
                assert f":{port}/predict takes images" in server.stderr.readline()
                continue
            if words[0] == "visionkit":
                result = visionkit(words[1:], folder)
            else:
                result = subprocess.run(words, cwd=folder, capture_output=True, text=True)
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
            printed[command] = result.stdout
        assert server.poll() is None
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
    return printed


def test_the_whole_way_is_shown():
    verbs = [command.split()[1] for command in COMMANDS if command.startswith("visionkit")]
    assert verbs == ["detect", "detect", "detect", "export", "bench", "serve"]


def test_the_second_run_finds_all_done_and_adds_formats(folder, done):
    first, second, tiled = (text for command, text in done.items() if command.startswith("visionkit detect"))
    assert "3 images done, 0 not read" in first
    assert "3 images done (3 of them earlier), 0 not read" in second
    assert "3 images done, 0 not read" in tiled
    for name in ("coco.json", "voc/Annotations/0.xml", "yolo/labels/0.txt", "detections.csv"):
        assert (folder / "found" / name).is_file()
    assert read_image(folder / "found" / "0.jpg").shape == (96, 128, 3)
    assert not list((folder / "small").glob("*.jpg"))


def test_the_bench_measures_both_batches(folder, done):
    rows = json.loads((folder / "bench.json").read_text())["rows"]
    assert [(row["batch"], row["model"]) for row in rows] == [(1, "exported"), (4, "exported")]
    for row in rows:
        assert row["images_per_s"] == pytest.approx(1e3 * row["batch"] / row["latency_ms"])
        assert row["peak_mb"] > 100
    assert read_image(folder / "bench.png").shape[2] == 3


def test_the_server_answers_what_detect_wrote(folder, done):
    plain, strict, health, notes = (json.loads(text) for command, text in done.items() if command.startswith("curl"))
    rows = [
        row for row in json.loads((folder / "found" / "detections.json").read_text()) if row["file_name"] == "0.jpg"
    ]
    assert len(rows) > 3 and plain["size"] == [96, 128]
    assert [item["class"] for item in plain["objects"]] == [row["category"] for row in rows]
    for item, row in zip(plain["objects"], rows, strict=True):
        x, y, w, h = row["bbox"]
        assert item["box"] == pytest.approx([x, y, x + w, y + h], abs=0.1)
        assert item["score"] == pytest.approx(row["score"], abs=0.01)
    assert strict["objects"] == [item for item in plain["objects"] if item["score"] >= 0.9]
    assert health["status"] == "ok"
    assert notes == json.loads(re.search(r'^\{"error".*', PAGE, re.M)[0])

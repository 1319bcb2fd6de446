"""Ray: the rows of a run in one process, whatever dies on the way."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from pyarrow import parquet
from support.ray_cluster import PYTHONPATH, environment, ray_cluster
from support.scale import DEADLY, Brightness, Negative, draw_images, here, open_brightness, run_all

from visionkit import images
from visionkit.scale import ray as on_ray
from visionkit.scale.ray import Cluster, run_on_ray
from visionkit.types import DataError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its log files open


@pytest.fixture(scope="module")
def address():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        with ray_cluster() as address:
            yield address


def engine(address, opener=open_brightness, runtime="keras", workers=2):
    """The engine as the command line makes it, with an opener of the tests'."""
    cluster = Cluster(address=address, workers=workers)
    return lambda work, names: run_on_ray(opener, runtime, work, names, cluster)


def results(out):
    return {file.name: file.read_bytes() for file in result_files(out)}


def result_files(out):
    """None before the first one is written; without the hidden ones that a process leaves when it is killed."""
    return [file for file in (out / "results").glob("*") if not file.name.startswith(".")]


def broken_opener():
    raise DataError("model.keras: no such file on this node")


STARTS = """
import contextlib, json, sys
import psutil
from support.scale import open_brightness, run_all
from visionkit.scale.ray import Cluster, run_on_ray
photos, out = sys.argv[1:]
listening = set()
def look():
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # some of Ray's live for a moment only
            found = process.net_connections("tcp")
            listening.update(c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN)
def engine(work, names):
    for counts in run_on_ray(open_brightness, "keras", work, names, Cluster(workers=2)):
        look()
        yield counts
_, summary = run_all(photos, out, engine, shard=5)
import ray
print(json.dumps([summary.done, summary.failed, sorted(listening), ray.is_initialized()]))
"""


def test_ray_starts_on_this_machine_for_a_run_and_gives_the_files_of_one_process(tmp_path):
    """It listens on loopback only, and leaves nothing in the home folder."""
    photos, home = tmp_path / "photos", tmp_path / "home"
    draw_images(photos, 24)
    (photos / "b" / "broken.jpg").write_bytes(b"no image")
    home.mkdir()
    run_all(photos, tmp_path / "here", shard=5)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    variables |= {"PYTHONPATH": PYTHONPATH, "HOME": str(home)}
    words = [sys.executable, "-c", STARTS, str(photos), str(tmp_path / "ray")]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    images_done, failed, listening, still_there = json.loads(done.stdout)
    assert (images_done, failed, still_there) == (24, 1, False)
    assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}
    assert listening
    assert results(tmp_path / "ray") == results(tmp_path / "here")
    assert (tmp_path / "ray" / "detections.json").read_bytes() == (tmp_path / "here" / "detections.json").read_bytes()
    assert list(home.rglob("*")) == []


@pytest.mark.slow
def test_an_image_that_kills_its_process_gets_a_row_and_all_others_theirs(address, tmp_path):
    """Its shard is halved until only that image is left out."""
    photos = tmp_path / "photos"
    draw_images(photos, 7)
    run_all(photos, tmp_path / "here", shard=4)
    images.write_image(photos / "c.png", np.full((9, 9, 3), DEADLY, np.uint8))
    _, summary = run_all(photos, tmp_path / "ray", engine(address), shard=4)
    assert (summary.done, summary.failed) == (7, 1)
    assert summary.errors == [f"{photos}/c.png: the process that read it died, 2 times with this image alone"]
    whole, without = results(tmp_path / "ray"), results(tmp_path / "here")
    assert len(whole.items() & without.items()) == 1  # of 2 shards: the image came into the last one
    rows, others = (parquet.read_table(tmp_path / name / "results").to_pylist() for name in ("ray", "here"))
    assert rows[:-1] == others


@pytest.mark.parametrize(
    ("task", "opener", "folder"),
    [("segment", partial(Brightness, task="segment"), "results"), ("stylize", Negative, "pictures")],
)
def test_other_tasks_give_the_files_of_one_process(address, tmp_path, task, opener, folder):
    draw_images(tmp_path / "photos", 6)
    written = []
    for out, run in ((tmp_path / "here", here), (tmp_path / "ray", engine(address, opener, workers=1))):
        run_all(tmp_path / "photos", out, run, task=task, formats=("parquet",))
        files = [file for file in (out / folder).rglob("*") if file.is_file()]
        written.append({file.relative_to(out): file.read_bytes() for file in files})
    assert written[0] == written[1]
    assert len(written[0]) == {"results": 2, "pictures": 6}[folder]


@pytest.mark.parametrize(
    ("opener", "runtime", "message"),
    [
        (broken_opener, "keras", "a worker cannot start: .*model.keras: no such file on this node"),
        (open_brightness, "onnx", "a worker computes with keras, and the results are to be made with onnx"),
    ],
)
def test_workers_that_are_of_no_use_end_the_run(address, tmp_path, monkeypatch, opener, runtime, message):
    monkeypatch.setattr(on_ray, "ATTEMPTS", 2)
    draw_images(tmp_path / "photos", 4)
    with pytest.raises(DataError, match=message):
        run_all(tmp_path / "photos", tmp_path / "out", engine(address, opener, runtime, workers=1))


@pytest.mark.slow
def test_a_store_that_stays_away_ends_the_run_after_some_attempts(address, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "PAUSE", 0.01)
    monkeypatch.setattr(on_ray, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    uri = "s3://lot/x.png?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    (tmp_path / "list.txt").write_text(f"{uri}\n")
    with pytest.raises(DataError, match=r"lot/x.png.*: the store does not answer"):
        run_all(tmp_path / "list.txt", tmp_path / "out", engine(address, workers=1))
    assert not (tmp_path / "out" / "results").exists()


def test_a_cluster_that_does_not_answer_is_named(tmp_path):
    draw_images(tmp_path / "photos", 1)

    def away(work, names):
        return run_on_ray(open_brightness, "keras", work, names, Cluster(address="127.0.0.1:9"))

    with pytest.raises(DataError, match=r"--address 127.0.0.1:9: no Ray cluster answers there"):
        run_all(tmp_path / "photos", tmp_path / "out", away)


def test_a_cluster_that_wants_a_token_is_named(tmp_path, monkeypatch):
    """With what Ray 2.60 raises after 20 seconds."""

    def init(**options):
        cause = RuntimeError(
            "Failed to connect to GCS. ...\nUnauthenticated: RPC error: InvalidAuthToken: Authentication"
        )
        raise ConnectionError("Failed to connect to Ray cluster at 127.0.0.1:6379") from cause

    monkeypatch.setattr(on_ray.socket, "create_connection", lambda *words, **options: socket.socket())
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    draw_images(tmp_path / "photos", 1)
    with pytest.raises(DataError, match=r"--address 127.0.0.1:6379: the cluster wants its token: set RAY_AUTH_MODE="):
        run_all(tmp_path / "photos", tmp_path / "out", engine("127.0.0.1:6379"))


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    draw_images(tmp_path / "photos", 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        DataError, match=r"--engine ray: ray is not installed; .*pip install 'keras-visionkit\[scale\]'"
    ):
        run_all(tmp_path / "photos", tmp_path / "out", engine(None))


DRIVER = """
import sys
from functools import partial
from support.scale import open_brightness, run_all
from visionkit.scale.ray import Cluster, run_on_ray
photos, out, pids, address = sys.argv[1:]
opener = partial(open_brightness, pids, 0.15)
engine = lambda work, names: run_on_ray(opener, "keras", work, names, Cluster(address=address, workers=2))
run_all(photos, out, engine, shard=4)
"""


@pytest.mark.slow
def test_after_kills_of_workers_and_drivers_every_image_is_there_once(address, tmp_path):
    """Workers are killed at moments drawn from a seed, then the driver, twice over; then it may finish."""
    photos, out, pids = tmp_path / "photos", tmp_path / "out", tmp_path / "pids"
    draw_images(photos, 120)
    pids.mkdir()
    rng = random.Random(0)
    words = [sys.executable, "-c", DRIVER, str(photos), str(out), str(pids), address]
    variables = {**os.environ, "PYTHONPATH": PYTHONPATH}
    killed, done = [], {}
    for workers_killed, driver_killed in ((1, True), (2, True), (1, False)):
        for file in pids.iterdir():
            file.unlink()
        driver = subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True)
        for number in range(1, workers_killed + 1):
            until(lambda number=number, driver=driver: len(list(pids.iterdir())) > number or driver.poll() is not None)
            time.sleep(rng.uniform(0, 0.6))
            newest = max(pids.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            killed.append(kill(int(newest.name)))
        if driver_killed:
            time.sleep(rng.uniform(0.2, 1))
            driver.kill()
            assert driver.wait() == -signal.SIGKILL
        else:
            assert driver.wait(timeout=120) == 0, driver.stderr.read()
        driver.stderr.close()
        now = {file.name: file.stat().st_mtime_ns for file in result_files(out)}
        assert done.items() <= now.items()  # what was finished was not touched
        done = now
    assert sum(killed) >= 3
    assert len(done) == 30
    run_all(photos, tmp_path / "here", shard=4)
    assert results(out) == results(tmp_path / "here")


def until(condition):
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_openers_can_be_sent_to_workers():
    """`partial` of a function of a module: what the command line gives."""
    import pickle

    assert pickle.loads(pickle.dumps(partial(open_brightness, None, 0.0)))().task == "detect"

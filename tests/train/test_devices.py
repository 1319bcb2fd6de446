"""Several devices that share a batch learn what one device learns; only one process writes."""

import csv
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from support import tiny_classifier
from support.on_jax import ON_JAX
from support.paths import ROOT

from visionkit.train import checkpoint
from visionkit.train.cluster import Cluster, free_addresses, variables
from visionkit.train.devices import Devices, _Replicas, devices_for
from visionkit.train.options import Options
from visionkit.train.run import resume, run
from visionkit.types import DataError

SCRIPT = ROOT / "tests" / "support" / "on_devices.py"


def program(backend, *words, **environment):
    """The command that trains on devices, and its environment."""
    environment |= ON_JAX | {
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, SCRIPT.parents[1]))),
    }
    environment["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
    return {"args": [sys.executable, str(SCRIPT), *map(str, words)], "env": os.environ | environment}


def start(*words, **environment):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(**program(*words, **environment), text=True, **pipes)


def finish(*processes):
    try:
        said = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "".join(said)


def rows(out):
    with (out / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v and k != "time"} for row in csv.DictReader(file)]


def weights(out):
    return {k: v for k, v in checkpoint.newest(out / "checkpoints")[0].items() if not k.startswith("metric")}


def agree(one, two):
    """The loss curves agree to 1e-4 of their values, as do all weights, momenta and averages with their largest."""
    for row, other in zip(rows(one), rows(two), strict=True):
        assert row == pytest.approx(other, rel=1e-4), (row, other)
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, array in first.items():
        scale = np.abs(array).max(initial=1e-3)
        np.testing.assert_allclose(second[name], array, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.fixture(scope="module")
def on_tensorflow(preloaded):
    """A function that trains in a process forked off one that has TensorFlow imported."""

    def run(*words):
        command = program("tensorflow", *words)
        done = preloaded.run(command["args"], env=command["env"])
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory, on_tensorflow):
    """Runs on one and on two TensorFlow devices."""
    folder = tmp_path_factory.mktemp("mirrored")
    names = [f"{name}-{count}" for name in ("detect", "segment") for count in (1, 2)]
    on_tensorflow("train", *(word for name in names for word in (folder / name, *name.split("-"))))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detect", "segment"])
def test_two_tensorflow_devices_learn_what_one_does(mirrored, name):
    agree(mirrored / f"{name}-1", mirrored / f"{name}-2")


@pytest.mark.slow
def test_the_model_of_two_devices_runs_on_one(mirrored):
    one, two = (keras.saving.load_model(mirrored / f"segment-{count}" / "model.keras") for count in (1, 2))
    layers = [layer for layer in two._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert not any(layer.synchronized for layer in layers), "a layer asks other devices"
    assert layers
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    for key, value in one.predict_on_batch(image).items():
        np.testing.assert_allclose(two.predict_on_batch(image)[key], value, atol=1e-3)


def in_mid_epoch(whole, out):
    """A copy of the run `whole` as it was when 3 of the steps of its second epoch were done."""
    shutil.copytree(whole, out)
    (out / "results.json").unlink()
    for file in (out / "checkpoints").glob("*.ckpt"):
        if file.name != "step-000000007.ckpt":
            file.unlink()
    assert checkpoint.newest(out / "checkpoints")[1]["step"] == 3
    return out


def assert_ended_alike(out, whole, rel):
    """To the bit, except for the losses: devices add up their parts of an epoch's losses."""
    for row, other in zip(rows(out), rows(whole), strict=True):
        assert row == pytest.approx(other, rel=rel)
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(out)[name], array, err_msg=name)


@pytest.mark.slow
def test_a_run_on_two_devices_resumes_in_mid_epoch_to_the_same_end(mirrored, tmp_path, on_tensorflow):
    out = in_mid_epoch(mirrored / "segment-2", tmp_path / "run")
    on_tensorflow("resume", out)
    assert_ended_alike(out, mirrored / "segment-2", 1e-6)


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    """The folder of runs on one and on two JAX devices, with dropout, which is drawn for the whole batch there."""
    folder = tmp_path_factory.mktemp("jax")
    finish(start("jax", "train", folder / "segment-1", "segment", 1, folder / "segment-2", "segment", 2))
    return folder


@pytest.mark.slow
def test_two_jax_devices_learn_what_one_does(on_jax):
    agree(on_jax / "segment-1", on_jax / "segment-2")


def both(backend, *words):
    """Two processes that train together."""
    addresses = free_addresses(2)
    finish(*(start(backend, *words, **variables(backend, addresses, index)) for index in range(2)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_processes_learn_what_one_does_and_resume_to_the_same_end(backend, request, tmp_path):
    """On JAX with two devices in each process. One of the processes writes."""
    one = request.getfixturevalue("on_jax" if backend == "jax" else "mirrored") / "segment-1"
    both(backend, "train", tmp_path / "run", "segment", "auto")
    agree(one, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    out = in_mid_epoch(tmp_path / "run", tmp_path / "resumed")
    both(backend, "resume", out)
    assert_ended_alike(out, tmp_path / "run", 1e-6)


def test_devices_that_are_not_there_are_an_error_of_one_line():
    found = len(keras.distribution.list_devices())
    said = f"--devices {found + 1}: expected 1 to {found} or auto; the devices are cpu:0"
    with pytest.raises(DataError, match=re.escape(said)):
        devices_for(found + 1)
    assert devices_for("auto").count == found


@pytest.mark.parametrize("knobs", [{"batch_size": 15}, {}])
def test_batches_that_cannot_be_shared_are_refused_before_anything_is_built(knobs, tmp_path, monkeypatch):
    def recipe(batch_size: int = 15):
        raise AssertionError("it reads the data and builds the network")

    devices = Devices()
    devices.count = 2
    monkeypatch.setattr("visionkit.train.run.devices_for", lambda wanted: devices)
    said = "batches of 15 images cannot be shared evenly by 2 devices; take a batch size of 14 or 16"
    with pytest.raises(DataError, match=said):
        run(recipe, knobs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_that_turn_out_not_to_be_shared_evenly_are_refused_too(tmp_path, monkeypatch):
    """A recipe without that knob."""
    devices = Devices()
    devices.count = 3
    monkeypatch.setattr("visionkit.train.run.devices_for", lambda wanted: devices)
    with pytest.raises(DataError, match="batches of 8 images cannot be shared evenly by 3 devices"):
        run(tiny_classifier.recipe, {}, tmp_path / "run")


def test_a_run_of_two_processes_that_one_resumes_says_what_that_changes(tmp_path, monkeypatch, capsys):
    def stop(rows):
        raise KeyboardInterrupt

    two = Devices()
    two.count, two.cluster = 2, Cluster(count=2)  # as the first of two sees them
    monkeypatch.setattr("visionkit.train.run.devices_for", lambda wanted: two)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(tiny_classifier.recipe, {"epochs": 3}, out, options=Options(checkpoint_steps=1), watch=stop)
    monkeypatch.setattr("visionkit.train.run.devices_for", lambda wanted: Devices())
    capsys.readouterr()
    resume(out)
    draws = ""
    if keras.backend.backend() == "tensorflow":
        draws = ", and dropout and the samples of two-stage detectors are drawn otherwise"
    launch = f"visionkit launch -n 2 --backend {keras.backend.backend()}"
    assert capsys.readouterr().out.splitlines()[1] == (
        f"{out}: its checkpoint is of 2 (now 1) processes with 2 (now 1) devices: sums are rounded otherwise from here "
        f"on{draws}; without that: {launch} -- train --resume {out}"
    )


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_number_of_devices_and_several_processes_are_an_error(backend, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    for name, value in variables(backend, ["a:1", "b:1"], 1).items():
        monkeypatch.setenv(name, value)
    name = {"jax": "KERAS_DISTRIBUTION_NUM_PROCESSES", "tensorflow": "TF_CONFIG"}[backend]
    for wanted in (1, 2):  # with 1, each process would train alone and write into the same folder
        with pytest.raises(DataError, match=f"--devices {wanted}: {name} names 2 processes; use --devices auto"):
            devices_for(wanted)


def test_accumulated_gradients_are_refused_on_tensorflow_devices():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    with pytest.raises(DataError, match="--accumulate and --devices cannot be combined on TensorFlow"):
        object.__new__(_Replicas).add_up(optimizer)  # without devices, which pytest's own process has not


def test_rows_that_a_loss_must_see_together_are_not_shared_out():
    tf = pytest.importorskip("tensorflow")
    replicas = object.__new__(_Replicas)
    replicas._tf, replicas.count, replicas._least_rows = tf, 2, 2
    with pytest.raises(DataError, match=r"each of 2 devices gets 1 images of a batch, .* use --batch-size 4"):
        replicas.share([], (np.zeros((2, 8, 6, 3), np.uint8), {}))


def test_one_device_tells_tensorflow_the_shapes_of_its_batches():
    pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the backend is not TensorFlow")
    example = (np.zeros((2, 8, 6, 3), np.uint8), {"label": np.zeros(2, np.int32)})
    shared = Devices().share([example, example], example)
    specs = {(spec.shape, spec.dtype.name) for spec in keras.tree.flatten(shared.element_spec)}
    assert specs == {((2, 8, 6, 3), "uint8"), ((2,), "int32")}
    assert len(list(shared)) == len(list(shared)) == 2  # Keras begins it anew for each fit

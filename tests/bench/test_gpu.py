"""The script for a machine with a GPU, on the CPU: its two sides at tiny sizes, and how parts are run and compared."""

import json
import sys
import time

import numpy as np
import pytest
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))
import gpu
import gpu_keras
from gpu_cases import TINY, targets


@pytest.mark.slow
def test_a_model_answers_the_same_again_and_is_measured(tmp_path):
    cases, rows = ["nanodet_g"], []
    for side in ("cpu", "gpu"):
        (tmp_path / side).mkdir()
        rows.append(list(gpu_keras.answers(cases, True, str(tmp_path), str(tmp_path / side))))
    about, there = rows[0]
    assert about["backend"] == "tensorflow" and about["devices"] == ["cpu:0"]
    assert len(there["losses"]) == 3 and np.isfinite(there["losses"]).all()
    gpu.compare(rows[1], rows[0])
    assert rows[1][1]["outputs_differ"] < 1e-4 and rows[1][1]["losses_differ"] < 1e-3
    inference, training = gpu_keras.speed(cases, True, "float32", False, 0)
    assert (inference["measure"], training["measure"]) == ("inference, batch 2", "training, batch 2")
    assert inference["images_per_s"] > 0 and np.isfinite(training["loss"]) and "peak_mb" not in training


def test_differences_are_relative_to_the_largest_value(tmp_path):
    rows = []
    for name, logits, loss in (("cpu", [1.0, -4.0], 2.0), ("gpu", [1.0, -3.0], 2.5)):
        np.savez(tmp_path / f"{name}.npz", logits=logits)
        rows.append([{"devices": []}, {"case": "a", "losses": [loss], "outputs": str(tmp_path / f"{name}.npz")}])
    gpu.compare(rows[1], rows[0])
    assert (rows[1][1]["outputs_differ"], rows[1][1]["losses_differ"]) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("print('{\"a\": 1}')", None),
        ("print('{\"a\": 1}'); raise OSError('broken')", "OSError: broken"),
        ("import time; print('{\"a\": 1}', flush=True); time.sleep(60)", "stopped after 4 s"),
    ],
)
def test_a_part_that_fails_or_takes_too_long_keeps_its_rows(program, error):
    start = time.monotonic()
    row = gpu.run(gpu.Part("a", ["-c", program], {}, {}, 4), limit=4)
    assert row["rows"] == [{"a": 1}] and row.get("error") == error
    assert time.monotonic() - start < 30


def test_the_parts_name_every_backend_and_both_sides_of_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "gpu.json"), "--minutes", "0", "--tiny"])
    sys.argv += ["--backend", "jax", "tensorflow", "--torch-python", sys.executable]
    assert gpu.main() == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {part["error"] for part in parts.values()} == {"no time was left"}
    assert list(parts)[:3] == ["parity, jax on cpu", "parity, jax on gpu", "parity, tensorflow on gpu"]
    assert {"speed, torchvision compiled, mixed_bfloat16", "speed, jax, float32", "recipe, jax"} < set(parts)


@pytest.mark.parametrize("case", TINY.values(), ids=TINY)
def test_objects_lie_inside_the_image(case):
    if "boxes" in (y := targets(case, 3)):
        assert (y["boxes"] >= 0).all() and (y["boxes"] <= [*case.size[::-1], *case.size[::-1]]).all()
        assert y["labels"].shape == y["ignore"].shape == (3, 6)
    else:
        assert y["label"].shape == (3,)

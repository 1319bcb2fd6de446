"""`--batch-size auto`."""

import pytest
from support import tiny_data
from support.paths import ROOT

from visionkit.checks.largest_batch import largest_batch, next_fits
from visionkit.environment import free_memory
from visionkit.train.recipe import load_recipe
from visionkit.types import DataError

pytestmark = pytest.mark.usefixtures("preloaded")
FILE = ROOT / "configs" / "mnist_mlp.py"


def test_the_largest_batch_of_six_images_is_four(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("visionkit.checks.largest_batch.free_memory", lambda: 2**33)  # other tests may hold it
    tiny_data.mnist(tmp_path)
    assert largest_batch(load_recipe(FILE), {"data_dir": tmp_path}, FILE) == 4
    assert "batch size: 4 is the largest power of two up to 64 that fits" in capsys.readouterr().out


def test_it_tries_what_the_last_phase_sees(tmp_path, monkeypatch):
    monkeypatch.setattr("visionkit.checks.largest_batch.free_memory", lambda: 2**33)
    tiny_data.mnist(tmp_path)
    file = tmp_path / "recipe.py"
    file.write_text(
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from visionkit.train.recipe import load_recipe\n"
        "def wrong(sample, seed):\n"
        "    raise ValueError('not this one')\n"
        "def recipe(data_dir, batch_size=1):\n"
        f"    plan = load_recipe(Path({str(FILE)!r}))(data_dir=Path(data_dir), batch_size=batch_size)\n"
        "    own = plan.transform or (lambda sample, seed: sample)\n"
        "    return replace(plan, transform=wrong, phases=[replace(phase, transform=own) for phase in plan.phases])\n"
    )
    assert largest_batch(load_recipe(file), {"data_dir": tmp_path}, file) == 4


def test_a_recipe_that_fails_is_named(tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text("def recipe(batch_size=1):\n    raise ValueError('no such thing')\n")
    with pytest.raises(DataError, match=r"not even one image could be trained on; the trial said: .*no such thing"):
        largest_batch(load_recipe(file), {}, file)


def test_memory_grows_with_the_images():
    peaks = [1000, 1010, 1030, 1070]  # 10 an image
    assert next_fits(peaks, 1150)
    assert not next_fits(peaks, 1149)
    assert next_fits(peaks[:1], 0)  # one peak says nothing yet
    assert 2**20 < free_memory() < 2**45

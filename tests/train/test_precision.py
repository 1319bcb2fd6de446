"""--precision auto: what it chooses, says and leaves in the run, and where it is refused."""

import json
from pathlib import Path

import keras
import pytest
from support import recipes, tiny_classifier

from visionkit.cli import main
from visionkit.cli.runs import MEASURED, train_and_print
from visionkit.experiments.folds import folds
from visionkit.experiments.seeds import seeds
from visionkit.train import precision
from visionkit.train import run as run_module
from visionkit.train.options import Options
from visionkit.train.precision import settled
from visionkit.train.run import resume, run
from visionkit.types import DataError

AUTO = Options(precision="auto")
KNOBS = {"lr": 0.1, "epochs": 1, "val": True, "seed": 3}


@pytest.fixture
def times(monkeypatch):
    """What a step is said to take in each precision, on a processor that computes in bfloat16; and what was asked."""
    seconds, asked = {"float32": 1.0, "mixed_bfloat16": 0.5}, []

    def step(recipe_function, knobs, name):
        asked.append((knobs, name))
        return seconds[name]

    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_step", step)
    seconds["asked"] = asked
    return seconds


@pytest.mark.parametrize(("bfloat16", "chosen"), [(0.5, "mixed_bfloat16"), (0.95, "float32"), (1.5, "float32")])
def test_bfloat16_is_chosen_where_it_is_clearly_faster(bfloat16, chosen, times, capsys):
    times["mixed_bfloat16"] = bfloat16
    assert settled(AUTO, recipes.recipe, {}) == Options(precision=chosen)
    assert capsys.readouterr().out == (
        f"precision: {chosen}; a step takes 1000 ms in float32 and {1000 * bfloat16:.0f} ms in bfloat16 "
        "(--precision auto)\n"
    )


def test_a_processor_without_bfloat16_is_not_measured(times, monkeypatch, capsys):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda: False)
    assert settled(AUTO, recipes.recipe, {}).precision == "float32"
    assert times["asked"] == []
    said = "precision: float32, since this processor does not compute in bfloat16 (--precision auto)\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512vbmi", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx512f avx512vbmi", False),
        ("model name\t: bf16", False),
    ],
)
def test_the_system_tells_whether_the_processor_has_it(line, has, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert precision.computes_in_bfloat16() is has


def test_steps_are_measured_in_both_precisions(monkeypatch, capsys):
    """With real steps; which is faster here is not known."""
    built = []

    def recipe():
        built.append((plan := tiny_classifier.recipe(**KNOBS)).model.compute_dtype)
        return plan

    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda: True)
    assert settled(AUTO, recipe, {}).precision in ("float32", "mixed_bfloat16")
    assert built == ["float32", "bfloat16"]
    assert keras.config.dtype_policy().name == "float32"
    assert capsys.readouterr().out.count("\n") == 1


def test_another_precision_is_left_as_it_is(times, capsys):
    options = Options(precision="mixed_float16", devices=2)
    assert settled(options, recipes.recipe, {}) is options
    assert (times["asked"], capsys.readouterr().out) == ([], "")


def test_several_devices_are_refused(times):
    with pytest.raises(
        DataError, match="--precision auto is measured on one device; with --devices 2 name a precision"
    ):
        settled(Options(precision="auto", devices=2), recipes.recipe, {})


def test_a_run_notes_what_was_chosen_and_a_resumed_one_does_not_measure(times, tmp_path, monkeypatch):
    built, build = [], run_module.build_recipe

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipes.recipe, {}, tmp_path / "run", options=AUTO, callbacks=[Stop()])
    assert json.loads((tmp_path / "run" / "resume.json").read_text())["options"]["precision"] == "mixed_bfloat16"
    assert [name for _, name in times.pop("asked")] == ["float32", "mixed_bfloat16"]
    monkeypatch.setattr(precision, "_step", lambda *args: pytest.fail("measured again"))
    monkeypatch.setattr(run_module, "build_recipe", lambda *args: built.append(args[2]) or build(*args))
    resume(tmp_path / "run")
    assert built == ["mixed_bfloat16"]


def test_a_folder_in_use_is_refused_before_anything_is_measured(times, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="the run folder must be new or empty"):
        run(recipes.recipe, {}, tmp_path, options=AUTO)
    with pytest.raises(DataError, match="the run folder must be new or empty"):
        train_and_print(recipes.recipe, {}, tmp_path, None, AUTO)
    assert times["asked"] == []


def test_the_largest_batch_is_sought_in_what_was_chosen(times, tmp_path, monkeypatch):
    def largest(recipe_function, knobs, recipe_file, name):
        raise DataError(f"sought in {name}")

    def recipe(batch_size: int):
        pytest.fail("built")

    monkeypatch.setattr("visionkit.checks.largest_batch.largest_batch", largest)
    with pytest.raises(DataError, match="sought in mixed_bfloat16"):
        train_and_print(recipe, {"batch_size": "auto"}, tmp_path / "run", None, AUTO)
    assert [knobs for knobs, _ in times["asked"]] == [{"batch_size": MEASURED}] * 2


def test_an_experiment_goes_on_in_the_precision_that_it_began_with(times, tmp_path, capsys):
    first = seeds(tiny_classifier.recipe, KNOBS, 2, tmp_path / "seeds", options=AUTO)
    assert json.loads((tmp_path / "seeds" / "experiment.json").read_text())["precision"] == "mixed_bfloat16"
    times["mixed_bfloat16"] = 2.0  # as if the machine had other work now
    assert seeds(tiny_classifier.recipe, KNOBS, 2, tmp_path / "seeds", options=AUTO) == first
    assert len(times["asked"]) == 2
    said = "precision: mixed_bfloat16, with which this experiment began (--precision auto)"
    assert said in capsys.readouterr().out
    folds(tiny_classifier.recipe, KNOBS, 2, tmp_path / "folds", options=AUTO)
    assert json.loads((tmp_path / "folds" / "experiment.json").read_text())["precision"] == "float32"


def test_processes_that_share_a_search_must_name_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path(__file__).resolve().parents[1]
    text = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom support.tiny_classifier import recipe\n"
    Path("mine.py").write_text(text)
    command = ["search", "mine.py", "--space", "lr=0.1..0.2", "--storage", "sqlite:///s.db", "--precision", "auto"]
    assert main(command) == 1
    assert "--precision auto: processes that share a search could choose differently" in capsys.readouterr().err
    assert not Path("runs").exists()

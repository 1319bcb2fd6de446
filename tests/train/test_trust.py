"""Run folders from strangers: what they name is not executed unless the user says so."""

import hashlib
import json
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import ROOT
from support.tiny_classifier import recipe as tiny

from visionkit.cli import main
from visionkit.experiments.runs import begin, finish
from visionkit.experiments.seeds import seeds
from visionkit.files import write_json
from visionkit.recipes import RECIPES
from visionkit.train.options import Options
from visionkit.train.resume import INSTALLED, read_started, recipe_name, recipe_of, write_started
from visionkit.train.run import run
from visionkit.train.trust import key_file, seal
from visionkit.types import DataError

RECIPE = f"""import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.tiny_classifier import recipe
"""
TRACED = RECIPE + 'Path("executed").touch()\n'
REFUSED = r"its recipe \({}\) was not executed, since nothing shows that you started this run on this machine"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a recipe's file, started by this user."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine.py").write_text(RECIPE)
    run(tiny, {"seed": 3}, folder / "run", folder / "mine.py")
    return folder / "run"


def from_elsewhere(finished, out, recipe="recipe.py", knobs=None, source=TRACED):
    """A run as a stranger may send it: with a recipe that leaves a trace, and a SHA-256 that fits."""
    shutil.copytree(finished, out)
    started = json.loads((out / "resume.json").read_text())
    (out / "recipe.py").write_text(source)
    (out / "knobs.json").write_text(json.dumps({"seed": 3} if knobs is None else knobs))
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    (out / "resume.json").write_text(json.dumps(started | {"recipe": recipe, "sha256": sha256}))
    return out


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


HELD_OUT = "visionkit.experiments.folds:held_out"


@pytest.mark.parametrize(
    ("recipe", "knobs", "said"),
    [
        ("recipe.py", {}, r"recipe\.py"),
        ("os:system", {"command": "touch executed"}, "'os:system'"),
        ("visionkit.processes:run_python", {"arguments": ["-c", "open('executed', 'w')"]}, "'visionkit.processes:.*'"),
        (HELD_OUT, {"recipe": "os:system", "knobs": {"command": "touch executed"}, "k": 2, "fold": 0}, f"'{HELD_OUT}'"),
        (HELD_OUT, {"recipe": "run/recipe.py", "knobs": {}, "k": 2, "fold": 0}, f"'{HELD_OUT}'"),
        (HELD_OUT, {"recipe": ["os:system"], "knobs": {}, "k": 2, "fold": 0}, f"'{HELD_OUT}'"),
    ],
)
def test_a_strangers_folder_executes_nothing(finished, here, capsys, recipe, knobs, said):
    out = from_elsewhere(finished, Path("run"), recipe, knobs)
    assert main(["report", str(out)]) == 0
    capsys.readouterr()
    (out / "results.json").unlink()
    for verb in ("train", "finetune"):
        assert main([verb, "--resume", str(out)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("visionkit: error: run: ") and error.count("\n") == 1
        assert error.endswith("; if you trust it, add --trust\n")
        assert re.search(REFUSED.format(said), error)
    assert not Path("executed").exists()


def test_a_strangers_report_has_the_scores_that_were_noted(finished, here, capsys):
    out = from_elsewhere(finished, Path("run"))
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    results = json.loads((out / "results.json").read_text())
    assert f"<b>{results['top1']:.3f}</b>" in page or f"{100 * results['top1']:.1f}" in page
    assert "its recipe (recipe.py) was not executed" in page
    assert not Path("executed").exists()
    assert main(["report", str(out), "--trust"]) == 0
    assert Path("executed").exists()
    assert "9 images: its validation images" in (out / "report.html").read_text()


def test_what_this_user_started_is_executed_without_asking(finished, here):
    assert main(["report", str(finished)]) == 0
    assert "9 images: its validation images" in (finished / "report.html").read_text()


@pytest.mark.parametrize("change", ["knobs", "mac", "key", "mode"])
def test_nobody_else_can_make_a_folder_this_users_own(finished, here, monkeypatch, change):
    out = Path("run")
    shutil.copytree(finished, out)
    recipe_of(out, read_started(out))
    started = json.loads((out / "resume.json").read_text())
    if change == "knobs":  # they are the arguments of what is executed
        write_json(out / "knobs.json", {"seed": 4})
    elif change == "mac":
        write_json(out / "resume.json", started | {"mac": None})
    elif change == "key":  # on another machine, or of another user
        monkeypatch.setenv("XDG_STATE_HOME", str(here / "other"))
        seal({})
    else:  # others could have read it
        shutil.copytree(key_file().parent, here / "other" / "visionkit")
        monkeypatch.setenv("XDG_STATE_HOME", str(here / "other"))
        recipe_of(out, read_started(out))
        key_file().chmod(0o640)
    with pytest.raises(DataError, match=REFUSED.format(r"recipe\.py")):
        recipe_of(out, read_started(out))
    recipe_of(out, read_started(out), trust=True)


def test_the_key_is_the_users_alone_and_stays(here, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    code = seal([1])
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert [file.name for file in key_file().parent.iterdir()] == ["key"]
    assert (seal([1]) == code, seal([2]) == code) == (True, False)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(here))
    assert key_file() == here / ".local" / "state" / "visionkit" / "key"
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert seal([1]) == ""  # a run can be started all the same


def test_recipes_of_the_package_need_no_key(here):
    assert {recipe_name(function) for function in RECIPES.values()} < INSTALLED
    write_json(Path("knobs.json"), {"data": "d"})
    for function in RECIPES.values():
        write_started(here, function, "tensorflow", Options())
        started = read_started(here)
        assert started.mac
        assert recipe_of(here, replace(started, mac="")) == (function, {"data": Path("d")})


def test_the_users_own_copy_is_executed_in_place_of_the_folders(finished, here, capsys):
    out = from_elsewhere(finished, Path("run"))
    (out / "results.json").unlink()
    Path("mine.py").write_text(TRACED)
    Path("other.py").write_text(TRACED + "\n")
    assert main(["train", "other.py", "--resume", "run"]) == 1
    assert "other.py: not the recipe that run began with" in capsys.readouterr().err
    assert not Path("executed").exists()
    assert main(["train", "mine.py", "--resume", "run"]) == 0
    assert "run folder: run" in capsys.readouterr().out
    assert Path("executed").exists()


def test_trust_resumes_any_folder(finished, here):
    out = from_elsewhere(finished, Path("run"))
    (out / "results.json").unlink()
    assert main(["train", "--resume", "run", "--trust"]) == 0
    assert Path("executed").exists()
    assert (out / "results.json").exists()


def test_a_strangers_experiment_goes_on_with_the_recipe_that_was_named(finished, here):
    """Its runs name other recipes, which are not looked at; a copy of the recipe that is none is refused."""
    Path("mine.py").write_text(RECIPE)
    out = Path("experiment")
    settings = {"verb": "seeds", "knobs": {"seed": 3}, "precision": "float32", "test": None}
    begin(out, tiny, Path("mine.py"), settings)
    run_folder = from_elsewhere(finished, out / "seed-3", "os:system", {"command": "touch executed"})
    (run_folder / "results.json").unlink()
    assert finish(tiny, {"seed": 3}, run_folder, Path("mine.py"), Options())["knobs"] == {"seed": 3}
    (out / "recipe.py").write_text(TRACED)
    with pytest.raises(DataError, match=r"experiment/recipe\.py: is not the copy of mine\.py that it should be"):
        seeds(tiny, {"seed": 3}, 2, out, Path("mine.py"))
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, r"cannot be read \(nested too deeply\)"),
        ("[]", "expected a JSON object"),
        ('{"options": {"workers": ' + "9" * 5000 + "}}", r"cannot be read \(a number of"),
        ('{"options": {}}', "damaged, or written by another version of visionkit: an entry is missing"),
        ('{"options": 3}', "damaged, or written by another version of visionkit: an entry is missing"),
    ],
)
def test_a_resume_json_that_is_none_is_one_line(here, text, said):
    (here / "resume.json").write_text(text)
    with pytest.raises(DataError, match=rf"resume\.json: {said}"):
        read_started(here)

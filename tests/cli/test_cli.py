"""The command line: quick help, errors of one line, and knobs that come from a recipe's signature."""

import inspect
import json
import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import tiny_data
from support.paths import ROOT

from visionkit.cli import app, main, models, runs
from visionkit.cli.scores import print_scores

TOOLS = ROOT / "tools"


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("verb", ["", "train", "finetune", "evaluate", "detect", "segment", "export", "serve"])
def test_help_answers_within_a_second(verb):
    before = _cpu_seconds()  # not the clock's: the tests' machine may be busy
    done = subprocess.run([sys.executable, "-m", "visionkit", *verb.split(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"visionkit {verb}".strip() in done.stdout
    assert done.stderr == ""
    assert _cpu_seconds() - before < 1.0


def test_a_pipe_that_was_closed_ends_it_quietly():
    """As `visionkit weights list | head -1` does, but the reader is gone before the first word."""
    words = [sys.executable, "-m", "visionkit", "weights", "list"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        started.stdout.close()
        assert started.stderr.read() == ""
        assert started.wait() == 141


def test_another_broken_pipe_is_an_error(capsys, monkeypatch):
    monkeypatch.setattr("visionkit.cli.app", lambda *_, **__: _raise(BrokenPipeError(32, "Broken pipe")))
    assert main(["env"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


def _raise(error):
    raise error


def _cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("verb", [name for name in app if not name.startswith("-")])
def test_every_verb_is_a_tool(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{verb}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOLS / f"{verb}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"visionkit {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetun", "x"], 'Did you mean "finetune"'),
        (["finetune", "x", "--epoch", "3"], "Unknown option: --epoch. Did you mean --epochs?"),
        (["finetune", "x", "--epochs", "many"], 'unable to convert "many" into int'),
        (["detect", "model", "images"], "--out"),
        (["evaluate", "nowhere", "nothing"], "nowhere: expected a run folder"),
        (["detect", "nowhere", "x.jpg", "--out", "o"], "nowhere: expected a run folder, a .keras file, an exported"),
        (["detect", "model", "x.jpg", "--out", "o", "--frames", "3"], "--frames is for a video or a camera"),
        (["detect", "model", "camera", "--out", "o", "--format", "coco"], "--format is for photos"),
        (["detect", "model", "x.jpg", "--out", "o", "--score", "30"], "--score: expected 0 to 1, found 30"),
        (["serve", "model", "--score=-1"], "--score: expected 0 to 1, found -1"),
        (["serve", "model", "--threads", "0"], "--threads: expected 1 or more, found 0"),
        (["serve", "model", "--port", "99999"], "--port: expected 0 to 65535, found 99999"),
        (["serve", "model", "--host", "localhost:80"], "--host: expected the name of a host, without http:// and"),
        (["serve", "model", "--batch-size", "0"], "--batch-size: expected 1 or more, found 0"),
        (["serve", "model", "--megabytes=-1"], "--megabytes: expected more than 0 and at most 10000, found -1"),
        (["serve", "model", "--megapixels", "nan"], "--megapixels: expected more than 0 and at most 10000, found nan"),
        (["serve", "model", "--allow-host", "a.corp", "*.corp"], "--allow-host: * alone is every Host"),
        (["export", "model", "--out", "o", "--void", "3"], "--void is about --data, which is not given"),
        (["finetune", ".", "--task", "detect", "--mixup", "0.2"], "--mixup is not for the task detect; leave it out"),
        (["finetune", "nowhere", "--from", "nanodet_g_cocoo"], "weights list; did you mean 'nanodet_g_coco'?"),
        (["finetune", "nowhere", "--from", "hf://../x"], "hf:/../x: expected hf://OWNER/NAME"),
        (["finetune", "nowhere", "--from", "."], ".: holds neither model.keras nor an export"),
        (["detect", "nanodet_g_coc", "x.jpg", "--out", "o"], "weights list; did you mean 'nanodet_g_coco'?"),
        (
            ["finetune", "nowhere", "--out", "s3://lot/run"],
            "s3://lot/run: expected a folder on this machine; copy what",
        ),
        (["export", "model", "--out=gs://lot/run"], "gs://lot/run: expected a folder on this machine; copy what"),
        (
            ["detect", "nanodet_g_coco", "x.jpg", "--out", "s3://lot/a", "--json", "s3://b"],
            "s3://b: expected a folder on",
        ),
        (["export", "nanodet_g_coc", "--out", "o"], "weights list; did you mean 'nanodet_g_coco'?"),
        (["stylize", "x.jpg", "--model", "nanodet_g_coco", "--out", "o"], "nanodet_g_coco: published weights; a run"),
        (["launch", "-n", "2", "--", "finetun", "data"], "found 'finetun'; did you mean 'finetune'?"),
        (["doctor", "s3://lot/data"], "s3://lot/data: only visionkit finetune and visionkit evaluate take data in a"),
        (["train", "nowhere.py"], "nowhere.py: there is no such recipe file"),
        (["finetune", "."], ".: an empty folder; expected labelled images: Annotations/*.xml"),
    ],
)
def test_an_error_is_one_line_that_helps(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code in (1, 2)
    assert message in err
    assert err.startswith("visionkit: error: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err + out


RESUMED_WITH = {
    "data": ["folder"],
    "task": ["--task", "detect"],
    "model": ["--model", "ssd"],
    "start": ["--from", "nanodet_g_coco"],
    "renamed": ["--map", "person=pedestrian"],
    "backbone": ["--backbone", "resnet18"],
    "check": ["--check"],
    "epochs": ["--epochs", "3"],
    "minutes": ["--minutes", "5"],
    "image_size": ["--image-size", "64"],
    "batch_size": ["--batch-size", "auto"],
    "lr": ["--lr", "0.1"],
    "class_weights": ["--class-weights"],
    "label_smoothing": ["--label-smoothing", "0.2"],
    "mixup": ["--mixup", "0.2"],
    "cutmix": ["--cutmix", "1"],
    "augment": ["--augment", "pipeline.json"],
    "learn_from": ["--learn-from", "train+val"],
    "classes": ["--classes", "names.txt"],
    "void": ["--void", "3"],
    "patience": ["--patience", "2"],
    "learning": ["--momentum", "0.5"],
    "seed": ["--seed", "1"],
    "out": ["--out", "folder"],
    "options": ["--deterministic"],
}


def test_resume_takes_no_other_option_of_finetune(capsys):
    assert set(RESUMED_WITH) | {"resume"} == set(inspect.signature(runs.finetune).parameters)
    for words in RESUMED_WITH.values():
        code, _, err = run(capsys, "finetune", *words, "--resume", "run")
        assert (code, "--resume takes a run folder and nothing else" in err) == (1, True), words


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        main(["detect", "nowhere", "x.jpg", "--out", "o", "--debug"])


RECIPE = '''"""A recipe of the tests. Reached: nothing."""
from pathlib import Path

def recipe(data_dir: Path, lr: float = 1e-3, epochs: int = 2, name: str = "a"):
    raise RuntimeError(f"{data_dir!r} {lr!r} {epochs!r} {name!r}")
'''


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.py").write_text(RECIPE)
    return "recipe.py"


def test_a_recipes_arguments_are_its_options(capsys, recipe):
    code, _, err = run(capsys, "train", recipe, "--data-dir", "d", "--lr", "3", "--out", "runs/x")
    assert code == 1
    assert f"RuntimeError: {Path('d')!r} 3.0 2 'a'" in err


def test_a_recipes_help_lists_its_knobs(capsys, recipe):
    code, out, _ = run(capsys, "train", recipe, "--help")
    assert code == 0
    assert "A recipe of the tests" in out
    assert "--lr" in out
    assert "--out" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning", "1"], "Unknown option: --learning"),
        (["--lrr", "1"], "Did you mean --lr?"),
        (["--lr", "x"], "float"),
    ],
)
def test_unknown_or_ill_typed_knobs_are_refused(capsys, recipe, words, message):
    code, _, err = run(capsys, "train", recipe, "--data-dir", "d", *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["--deterministic"], 1), (["--deterministic=true"], 1), (["--deterministic=false"], 0), ([], 0)],
)
def test_a_recipe_is_loaded_as_deterministic_as_it_is_asked_for(monkeypatch, recipe, words, wanted):
    calls = []
    monkeypatch.setattr(runs, "make_deterministic", lambda: calls.append(1))
    runs.open_recipe(Path(recipe), words)
    assert len(calls) == wanted


def test_without_a_backend_the_line_says_what_to_install(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['tensorflow'] = sys.modules['jax'] = None")
    path = os.pathsep.join([str(tmp_path), str(Path(runs.__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"}
    for verb, said in (("env", "keras"), ("classify", "")):
        model = [] if verb == "env" else ["resnet18_imagenet", "x.jpg", "--out", "o", "--offline"]
        words = [sys.executable, "-m", "visionkit", verb, *model]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 1 and said in done.stdout
        assert "visionkit: error: Keras is set to run on tensorflow, which is not installed" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_names_do_not_drive_the_terminal(tmp_path, capsys):
    bad = "cat\x1b[31m\u202e"
    print_scores({"top1": 0.5, "per_class": {bad: {"recall": 0.5}}})
    assert capsys.readouterr().out == "top1 0.5\n  cat\\x1b[31m\\u202e    recall 0.5\n"
    assert main(["report", str(tmp_path / bad)]) == 1
    error = capsys.readouterr().err
    assert "cat\\x1b[31m\\u202e: expected the folder of a run" in error and "\x1b" not in error


def test_names_of_classes_and_files_forge_no_lines_and_drive_no_terminal(tmp_path, capsys):
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([]))
    file = next(root.rglob("*.json"))
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "cat\nvisionkit: error: run this"
    file.write_text(json.dumps(content))
    main(["doctor", str(root)])
    out = capsys.readouterr().out
    assert "cat\\nvisionkit: error: run this 0" in out
    assert not any(line.startswith("visionkit: error") for line in out.splitlines())
    bad = SimpleNamespace(error="a\x1b[2J\x07\n.jpg: broken")
    report = SimpleNamespace(failed=[bad], corrected=["b\x1b.xml"], done=1, earlier=0, rows=0)
    assert models._report(report, tmp_path) == 3
    captured = capsys.readouterr()
    assert captured.err == "not read: a\\x1b[2J\\x07\\n.jpg: broken\n"
    assert "kept (b\\x1b.xml); " in captured.out


def test_warnings_drive_no_terminal_either(tmp_path):
    tiny_data.picture(tmp_path / "a.png")
    (tmp_path / "b\x1b[2J\n.heic").write_bytes(b"")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from visionkit.cli import main; main(['classify', 'nowhere', '.', '--out', 'o']); "
            "from visionkit.image_files import find_images; find_images('.')",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert "b\\x1b[2J\\n.heic" in done.stderr and "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 2

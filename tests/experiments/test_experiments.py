"""Many trainings of one recipe: each experiment's rule, that a stopped one goes on, and what people are told."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cyclopts
import keras
import numpy as np
import pytest
from support import tiny_data
from support.paths import ROOT
from support.tiny_classifier import drawn, recipe

from visionkit.cli import main
from visionkit.cli.knobs import parse_knobs
from visionkit.experiments import runs
from visionkit.experiments.folds import deal, folds, held_out
from visionkit.experiments.lr_find import lr_find, smooth, suggest
from visionkit.experiments.rates import rate_of
from visionkit.experiments.search import BEHIND, DONE, FAILED, ends, read_space, search
from visionkit.experiments.seeds import seeds
from visionkit.train import training
from visionkit.train.learning import Learning
from visionkit.train.recipe import Phase, schedule
from visionkit.types import DataError, Sample

KNOBS = {"lr": 0.1, "epochs": 2, "val": True, "seed": 3}
FILE = f"""from pathlib import Path
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.tiny_classifier import recipe
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)
    return "mine.py"


# Learning rate


def test_the_suggestion_of_a_drawn_curve():
    rates = np.logspace(-6, 1, 141)
    falls = 1 / (1 + (rates / 1e-3) ** 2)  # by the logarithm, fastest at 1e-3
    curve = 0.2 + 2 * falls + 1e3 * np.maximum(np.log10(rates) + 1, 0)  # from 0.1 on it explodes
    said = suggest(rates.tolist(), curve.tolist())
    assert said == {"suggestion": 1e-3, "rule": "steepest", "steepest": 1e-3, "decade_below_minimum": 1e-2}
    late = suggest(rates.tolist(), (0.2 + 2 / (1 + (rates / 0.04) ** 4) + 1e3 * np.maximum(rates - 0.1, 0)).tolist())
    assert (late["rule"], late["suggestion"]) == ("decade_below_minimum", 0.01)
    assert suggest(rates.tolist(), np.linspace(2, 1.95, 141).tolist())["suggestion"] is None
    assert suggest([], [])["suggestion"] is None


def test_smoothing_begins_without_a_bias():
    assert smooth([4.0]) == pytest.approx([4])
    assert smooth([4.0] * 9) == pytest.approx([4] * 9)
    assert smooth([1.0, 2.0])[1] == pytest.approx((0.09 * 1 + 0.1 * 2) / 0.19)


def test_the_ramp_moves_the_weights_and_stops_where_the_loss_explodes():
    found = lr_find(recipe, KNOBS, low=1e-4, high=1e4, steps=60)
    rates = np.array(found["rates"])
    assert rates[0] == pytest.approx(1e-4)
    assert rates[1:] / rates[:-1] == pytest.approx(np.full(len(rates) - 1, 1e8 ** (1 / 59)))
    assert len(rates) < 60  # a rate of 10,000 was never tried
    assert min(found["smoothed"]) < 0.9 * found["smoothed"][0]
    assert 1e-3 < found["suggestion"] < 10
    assert found["peak"] == pytest.approx(0.1, rel=0.1)
    assert found["knob"] == pytest.approx(found["suggestion"], rel=0.1)  # the knob is the peak in this recipe


def test_each_phase_is_tried_on_images_of_its_own():
    seen = []

    def phased(**knobs):
        plan = recipe(**knobs)
        own = Phase(2, keras.optimizers.SGD(0.1), transform=lambda sample, seed: seen.append(sample.id) or sample)
        plan.phases.append(own)
        return plan

    for phase in (1, 2):
        lr_find(phased, KNOBS, steps=20, phase=phase)
        assert bool(seen) == (phase == 2)


def test_a_recipe_that_uses_no_optimizer_has_no_rate_to_find(tmp_path):
    from visionkit.train.recipe import load_recipe

    tiny_data.mnist(tmp_path)
    notes = load_recipe(ROOT / "configs" / "mnist_notes.py")

    def small(**knobs):
        plan = notes(tmp_path)
        plan.model.mini_batch, plan.batch_size = 2, 2
        return plan

    with pytest.raises(DataError, match="updates its weights without its optimizer"):
        lr_find(small, {}, steps=20)


# Folds


def test_each_sample_is_held_out_once_and_each_kind_evenly():
    def boxes(*labels):
        rows = np.tile(np.float32([1, 1, 5, 5]), (len(labels), 1))
        return Sample(id="", image_size=(9, 9), boxes=rows, labels=np.array(labels, np.int32))

    classes = [Sample(id="", image_size=(9, 9), label=label) for label in [0] * 10 + [1] * 7 + [2] * 6]
    objects = [boxes(0, 0, 1)] * 5 + [boxes(0)] * 8 + [boxes()] * 4  # kind 1 (rarer), kind 0, and none
    for records, kinds in ((classes, [0] * 10 + [1] * 7 + [2] * 6), (objects, [1] * 5 + [0] * 8 + [-1] * 4)):
        where = deal(records, 5, seed=1)
        assert set(where) == set(range(5))
        for kind in set(kinds):
            counts = np.bincount(where[np.array(kinds) == kind], minlength=5)
            assert counts.max() - counts.min() <= 1
        assert np.ptp(np.bincount(where)) <= 1
        assert (deal(records, 5, seed=1) == where).all()
        assert (deal(records, 5, seed=2) != where).any()
    for k in (1, 24):
        with pytest.raises(DataError, match="expected 2 to 23 folds, as there are 23 training images"):
            deal(classes, k)


def test_what_is_held_out_is_not_learned_from_and_the_schedule_is_whole():
    plan = held_out("support.tiny_classifier:recipe", {**KNOBS, "epochs": 4}, k=3, fold=1)
    ids = {record.id for record in plan.train.records}, {record.id for record in plan.val.records}
    assert (len(ids[0]), len(ids[1]), ids[0] & ids[1]) == (16, 8, set())
    assert ids[0] | ids[1] == {record.id for record in drawn(24, 0).records}
    rate = rate_of(plan.phases[0].optimizer)
    assert float(rate(8)) == pytest.approx(0, abs=1e-6)  # 4 epochs of 2 steps; the recipe has 4 of 3
    assert float(rate(4)) == pytest.approx(float(schedule(12, 0.1)(6)))
    assert (plan.evaluate_every, plan.patience) == (4, None)


def test_folds_that_were_stopped_go_on_and_leave_a_table_and_all_predictions(tmp_path, monkeypatch, capsys):
    out, trained = tmp_path / "folds", []

    class Stops(training.History):
        def on_epoch_begin(self, epoch, logs=None):
            trained.append((self.file.parent.name, epoch))
            if trained == [("fold-0", 0), ("fold-0", 1), ("fold-1", 0), ("fold-1", 1)]:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "History", Stops)
    with pytest.raises(KeyboardInterrupt):
        folds(recipe, KNOBS, 2, out)
    found = folds(recipe, KNOBS, 2, out)
    assert trained[4:] == [("fold-1", 1)]  # what was done was not done again
    assert "fold-1: resuming in epoch 2 after 0 of its steps" in capsys.readouterr().out
    assert found == json.loads((out / "folds.json").read_text())
    assert [row["images"] for row in found["rows"]] == [12, 12]
    with (out / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["id"] for row in rows) == [record.id for record in drawn(24, 0).records]
    for fold, row in enumerate(found["rows"]):
        said = [line for line in rows if line["fold"] == str(fold)]
        assert row["top1"] == pytest.approx(np.mean([line["label"] == line["predicted"] for line in said]))
    scores = np.float64([[row["top"], row["middle"], row["bottom"]] for row in rows])
    assert scores.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-4)
    assert [row["predicted"] for row in rows] == [["top", "middle", "bottom"][k] for k in scores.argmax(axis=1)]
    with pytest.raises(DataError, match="holds an experiment with another k, 2 and not 4"):
        folds(recipe, KNOBS, 4, out)


@pytest.mark.parametrize("task", ["segment", "detect", "classify"])
def test_maps_and_boxes_are_predicted_out_of_their_fold_too(task, tmp_path, monkeypatch):
    from visionkit.data.shapes import shapes
    from visionkit.experiments import folds as module
    from visionkit.types import Classification, Detections, SegmentationMap

    train, where = shapes(4, (32, 40)), np.array([1, 0, 1, 0])
    train.records[:] = [replace(record, label=0) for record in train.records]
    train.records[3] = replace(train.records[3], id="b\udcff-3")  # as Python reads a name that is no UTF-8

    def predictor(folder):
        fold = int(folder.name[-1])

        def predict(items, score):
            for item in items:
                same = {"id": item.id, "image_size": item.image_size}
                if task == "segment":
                    yield SegmentationMap(**same, segmentation=np.full(item.image_size, fold, np.int32))
                elif task == "classify":
                    yield Classification(**same, scores=np.float32([1 - fold, fold, 0, 0]))
                else:
                    box, label = np.float32([[1, 2, 3 + fold, 4]]), np.zeros(1, np.int32)
                    yield Detections(**same, boxes=box, labels=label, scores=np.float32([0.5]))

        return predict

    monkeypatch.setattr(module, "open_predictor", predictor)
    monkeypatch.setattr(np, "savez_compressed", lambda *_, **__: pytest.fail("all maps at once"))
    file = module.write_predictions(train, task, where, tmp_path)
    names = [record.id for record in train.records]
    if task == "segment":
        names[3] = "b\\udcff-3"
        with np.load(file) as maps:
            assert {name: int(maps[name].max()) for name in maps} == dict(zip(names, where, strict=True))
            assert maps[names[0]].shape == (32, 40)
        return
    if task == "classify":
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            assert {row["id"]: int(row["fold"]) for row in csv.DictReader(stream)} == dict(
                zip(names, where, strict=True)
            )
        return
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["id"]: line["fold"] for line in lines} == dict(zip(names, where, strict=True))
    assert [line["objects"][0]["box"][2] for line in lines] == [3, 3, 4, 4]


# Seeds


def test_the_summary_of_some_scores():
    said = runs.summary([0.8, 0.9, 0.7])
    assert said | {"low": 0, "high": 0} == {"mean": 0.8, "std": 0.1, "min": 0.7, "max": 0.9, "low": 0, "high": 0}
    # Of 27 equally likely draws one has the mean 0.7, which is more than 2.5 %: the ends are the extremes.
    assert (said["low"], said["high"]) == (0.7, 0.9)
    many = np.random.default_rng(0).normal(0.5, 0.1, 400)
    said = runs.summary(many)
    half = 1.96 * many.std() / np.sqrt(400)
    assert (said["low"], said["high"]) == pytest.approx((many.mean() - half, many.mean() + half), abs=1e-3)
    assert runs.summary([0.5])["std"] == 0


def test_seeds_are_scored_on_test_images_where_there_are_any(file, capsys):
    """All three are alike, so that whatever a model says is right once."""
    for name in ("top", "middle", "bottom"):
        tiny_data.picture(Path("t", "test", name, "a.png"))
    command = ["seeds", file, "--count", "2", "--epochs", "1", "--test-data", "t", "--test-split", "test"]
    assert main(command) == 0
    found = json.loads(Path("runs/mine/seeds/seeds.json").read_text())
    assert [row["top1"] for row in found["rows"]] == pytest.approx([1 / 3] * 2)
    Path("runs/mine/seeds/seeds.json").unlink()
    assert main([*command[:-4], "--out", "runs/mine/seeds"]) == 1
    assert "holds an experiment with another test, " in capsys.readouterr().err
    tiny_data.picture(Path("u", "test", "top", "a.png")), tiny_data.picture(Path("u", "test", "bottom", "a.png"))
    tiny_data.picture(Path("u", "test", "middle", "a.png"), (9, 9))
    assert main([*command[:-3], "u", "--test-split", "test"]) == 1  # another folder, of which all we say is the same
    assert "holds an experiment with another test, " in capsys.readouterr().err
    assert main([*command, "--precision", "mixed_bfloat16"]) == 1
    assert "holds an experiment with another precision, " in capsys.readouterr().err
    assert main(command) == 0
    assert json.loads(Path("runs/mine/seeds/seeds.json").read_text()) == found


def test_test_images_of_other_classes_are_refused_before_anything_is_trained(file, capsys):
    tiny_data.picture(Path("t", "left", "a.png")), tiny_data.picture(Path("t", "top", "a.png"))
    assert main(["seeds", file, "--test-data", "t"]) == 1
    assert "the data has classes that the model lacks: left" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_test_images_are_opened_for_the_recipes_task_and_its_void(tmp_path, monkeypatch):
    opened, found = [], {"metric": "mIoU", "rows": [], "summary": runs.summary([0.5, 0.6])}
    monkeypatch.setattr("visionkit.data.recognise.open_dataset", lambda *given, **more: opened.append((given, more)))
    monkeypatch.setattr("visionkit.evaluate.scores.class_ids", lambda *_: None)
    monkeypatch.setattr("visionkit.experiments.seeds.seeds", lambda *_, **__: found)
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "from support.recipes import of_kind\n"
        "def recipe(void: int = 3):\n    return of_kind('fcn')\n"
    )
    assert main(["seeds", "mine.py", "--test-data", "t", "--void", "2"]) == 0
    assert opened == [((Path("t"), None, "segment"), {"void": 2})]


def test_seeds_need_something_to_score_on(tmp_path):
    with pytest.raises(DataError, match="no validation images to score with; name labelled data with --test-data"):
        seeds(recipe, KNOBS | {"val": False}, 2, tmp_path / "other")


# Search

SPACE = "lr=1e-4..1e1:log,batch_size=8|16"


def test_a_space_is_read_and_its_ends_are_tried():
    space = read_space("lr=1e-4..1e-1:log, batch-size=8|16|32,n=2..9")
    assert list(space) == ["lr", "batch_size", "n"]
    assert (space["lr"].low, space["lr"].high, space["lr"].log) == (1e-4, 0.1, True)
    assert space["batch_size"].choices == ("8", "16", "32")
    assert (type(space["n"]).__name__, space["n"].high) == ("IntDistribution", 9)
    assert ends(space)[0] == {"lr": "0.0001", "batch_size": "8", "n": "2"}
    assert ends(space)[2] == {"lr": "0.1", "batch_size": "32", "n": "9"}
    for text in ("lr", "lr=3", "lr=1..x", "lr=0..1:log", "lr=3..1", "lr=1..2:cosine", "lr=1..2,lr=1..2"):
        with pytest.raises(DataError, match="--space: expected knobs such as"):
            read_space(text)


def test_a_choice_that_the_recipe_refuses_is_found_before_anything_is_trained(tmp_path, monkeypatch):
    def picky(**knobs):
        if knobs["batch_size"] == 8:
            raise DataError("no batches of 8")
        return recipe(**{name: value for name, value in knobs.items() if name != "batch_size"})

    monkeypatch.setattr("visionkit.experiments.search.finish", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(DataError, match="no batches of 8"):
        search(picky, knobs_with, SPACE, 3, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def knobs_with(values):
    return KNOBS | {"lr": float(values["lr"]), "batch_size": int(values["batch_size"])}


def fake(calls, stop_at=None, full_at=None):
    """Stands for `runs.finish`: a training whose score rises towards one that is best at lr 0.1 and batch size 16."""

    def finish(recipe, knobs, out, recipe_file, options, watch):
        calls.append(out.name)
        if out.name == stop_at:
            raise KeyboardInterrupt
        if out.name == full_at:
            raise MemoryError("a batch does not fit")
        (out / "crash").mkdir(parents=True)
        if knobs["lr"] > 5:
            raise DataError("the loss became nan")
        (out / "crash").rmdir()
        far = abs(np.log10(knobs["lr"]) + 1)
        top = 0.9 - 0.2 * far - 0.1 * (knobs["batch_size"] == 8)
        history = []
        for epoch in range(1, 11):
            history.append({"epoch": epoch, "loss": 1.0, "val_top1": top * (1 - 0.5**epoch)})
            if watch(history):
                break
        lines = [f"{row['epoch']},{row['val_top1']}" for row in history]
        (out / "history.csv").write_text("\n".join(["epoch,val_top1", *lines]) + "\n")
        return {"top1": history[-1]["val_top1"], "seconds": 1.0}

    return finish


def plan(lr: float, batch_size: int = 8, **others):
    return recipe(lr=lr)


def test_a_trial_that_does_not_fit_is_one_failure(tmp_path, monkeypatch, capsys):
    from visionkit.experiments import search as module

    monkeypatch.setattr(module, "finish", fake([], full_at="trial-2"))
    rows = search(plan, knobs_with, SPACE, 4, tmp_path / "search")["trials"]
    assert rows[2]["state"] == FAILED and "failed: a batch does not fit" in capsys.readouterr().out
    monkeypatch.setattr(module, "finish", fake([], full_at="trial-0"))
    with pytest.raises(MemoryError):  # what is wrong with the first is wrong with all
        search(plan, knobs_with, SPACE, 4, tmp_path / "other")


def test_a_search_narrows_stops_what_falls_behind_and_survives_failures(tmp_path, monkeypatch):
    from visionkit.experiments import search as module

    calls = []
    monkeypatch.setattr(module, "finish", fake(calls))
    found = search(plan, knobs_with, SPACE, 30, tmp_path / "search")
    rows = found["trials"]
    assert len(calls) == len(rows) == 30
    far = [abs(np.log10(float(row["values"]["lr"])) + 1) for row in rows]
    assert np.mean(np.array(far[12:]) < 0.6) > 0.4  # evenly drawn, 24 in 100 would be as near to the best rate
    assert [row["values"]["batch_size"] for row in rows[20:]] == ["16"] * 10
    assert found["best"]["score"] == max(row["score"] for row in rows if "score" in row) > 0.85
    states = [row["state"] for row in rows]
    assert set(states[:6]) <= {DONE, FAILED}
    assert states.count(BEHIND) >= 5
    assert all(("score" in row) == (row["state"] != FAILED) for row in rows)
    assert all((row["state"] == FAILED) == (float(row["values"]["lr"]) > 5) for row in rows)
    for row in rows:  # one that is stopped was below the median of those before it, at that epoch
        if row["state"] == BEHIND:
            epoch = max(row["scores"], key=int)
            others = [other["scores"][epoch] for other in rows[: row["number"]] if epoch in other["scores"]]
            assert row["scores"][epoch] < np.median(others)


def test_a_search_that_was_stopped_goes_on_as_one_that_was_not(tmp_path, monkeypatch):
    from visionkit.experiments import search as module

    monkeypatch.setattr(module, "finish", fake([]))
    whole = search(plan, knobs_with, SPACE, 12, tmp_path / "whole")
    calls = []
    monkeypatch.setattr(module, "finish", fake(calls, stop_at="trial-8"))
    with pytest.raises(KeyboardInterrupt):
        search(plan, knobs_with, SPACE, 12, tmp_path / "stopped")
    said = json.loads((tmp_path / "stopped" / "search.json").read_text())["trials"]
    assert ["state" in row for row in said] == [True] * 8 + [False]
    monkeypatch.setattr(module, "finish", fake(calls))

    shutil.copytree(tmp_path / "stopped", tmp_path / "other")  # as if another release of Optuna had drawn the last one
    said[-1]["values"]["lr"] = "0.1234"
    (tmp_path / "other" / "search.json").write_text(json.dumps({"metric": "top1", "trials": said}))
    assert search(plan, knobs_with, SPACE, 9, tmp_path / "other")["trials"][8]["values"]["lr"] == "0.1234"
    calls.pop()

    assert search(plan, knobs_with, SPACE, 12, tmp_path / "stopped") == whole
    assert calls == [f"trial-{i}" for i in (*range(9), *range(8, 12))]


# The command line


def test_all_of_them_from_the_command_line(file, capsys):
    assert main(["lr_find", file, "--steps", "40", "--high", "100"]) == 0
    said = capsys.readouterr().out
    assert "suggestion: a highest rate of " in said
    found = json.loads(Path("runs/mine/lr_find/lr_find.json").read_text())
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"])
    assert Path("runs/mine/lr_find/lr_find.png").stat().st_size > 10_000
    assert not list(Path("runs").rglob("*.keras"))  # what was trained is thrown away

    assert main(["seeds", file, "--count", "2", "--epochs", "1", "--seed", "3"]) == 0
    assert "95 % bootstrap interval of the mean" in capsys.readouterr().out
    found = json.loads(Path("runs/mine/seeds/seeds.json").read_text())
    folders = [Path("runs/mine/seeds", f"seed-{seed}") for seed in (3, 4)]
    for row, seed, folder in zip(found["rows"], (3, 4), folders, strict=True):
        results = json.loads((folder / "results.json").read_text())
        assert (seed, results["knobs"]["seed"], results["top1"]) == (row["seed"], seed, row["top1"])
    models = [keras.saving.load_model(folder / "model.keras") for folder in folders]
    assert not np.array_equal(*(model.get_weights()[0] for model in models))
    assert found["summary"] == runs.summary([row["top1"] for row in found["rows"]])
    assert Path("runs/mine/seeds/seed-3/curves.png").is_file()
    assert Path("runs/mine/seeds/seed-3/recipe.py").read_text() == FILE

    command = ["search", file, "--epochs=1", "--no-val", "--space", "lr=0.01..1:log", "--trials", "2", "--out", "s"]
    assert main(command) == 0
    best = capsys.readouterr().out.splitlines()[-1]
    chosen = json.loads(Path("s/search.json").read_text())["best"]["values"]["lr"]
    assert best == f"best: visionkit train mine.py --epochs=1 --no-val --lr={chosen}"
    results = json.loads(Path("s/trial-1/results.json").read_text())
    assert (results["train_images"], results["val_images"]) == (19, 5)  # a fifth of 24 is held out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seeds", "mine.py", "--lrr", "1"], "Did you mean --lr?"),
        (["seeds", "mine.py", "--count", "1"], "--count 1: expected at least 2 seeds"),
        (["seeds", "mine.py", "--test-split", "test"], "--test-split is a part of --test-data"),
        (["folds", "mine.py", "--k", "99"], "--k 99: expected 2 to 24 folds"),
        (["search", "mine.py"], "search needs --space, such as --space 'lr=1e-4..1e-1:log"),
        (["search", "mine.py", "--space", "lr=1|x"], 'unable to convert "x" into float'),
        (["search", "mine.py", "--space", "rate=1..2"], "Unknown option: --rate"),
        (
            ["lr_find", "mine.py", "--low", "20"],
            "expected 0 < --low < --high and at least 20 --steps",
        ),
        (["lr_find", "mine.py", "--phase", "2"], "--phase 2: the recipe has 1"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(file, capsys, words, message):
    assert main(words) != 0
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(Path().rglob("*.csv"))


def test_the_word_behind_a_flag_is_not_the_next_knob():
    def recipe(data_dir: Path, masks: bool = True, pretrained: bool = True):
        """A recipe with two flags."""

    for words in (["D", "--pretrained", "false"], ["--data-dir", "D", "--pretrained", "false"]):
        with pytest.raises(cyclopts.CycloptsError):
            parse_knobs("train", Path("mine.py"), recipe, words, {})
    knobs, _ = parse_knobs("train", Path("mine.py"), recipe, ["--data-dir=D", "--pretrained=false"], {})
    assert knobs == {"data_dir": Path("D"), "masks": True, "pretrained": False}


def test_help_lists_the_knobs_and_the_options(file, capsys):
    assert main(["folds", file, "--help"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("--lr", "--k", "--out", "--workers", "The experiment"))
    Path("own.py").write_text("from visionkit.recipes.classify import classify as recipe\n")
    assert main(["seeds", "own.py", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("--backbone", "--mixup", "--count"))
    assert main(["search", "--help"]) == 0
    assert "--space 'lr=1e-4..1e-1:log" in capsys.readouterr().out


def test_one_knob_of_learning_leaves_the_others_as_the_recipe_has_them():
    pytest.importorskip("pydantic")  # the parser looks closer where it has been imported, as by albumentations
    plain = Learning(optimizer="sgd", schedule="constant", weight_decay=0.0)

    def recipe(learning: Learning = plain, lr: float = 0.1):
        """A recipe that learns in its own way."""

    knobs, _ = parse_knobs("train", Path("mine.py"), recipe, ["--momentum", "0.8", "--clip=1"], {})
    assert knobs == {"learning": replace(plain, momentum=0.8, clip=1.0), "lr": 0.1}
    assert parse_knobs("train", Path("mine.py"), recipe, [], {})[0] == {"learning": plain, "lr": 0.1}

    def clashes(learning: Learning = plain, warmup: float = 0.1):
        """A recipe with a knob of the name of one of those."""

    with pytest.raises(DataError, match="its knob warmup has the name of an option of visionkit train; rename it"):
        parse_knobs("train", Path("mine.py"), clashes, [], {})


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        (["--batch-size", "auto", "--devices", "auto"], "auto"),
        (["--devices", "auto", "--batch-size", "auto"], "auto"),
        (["--batch-size=auto", "--seed", "3"], 1),
        (["--batch_size=auto"], 1),
    ],
)
def test_auto_stands_for_what_is_before_it(words, devices, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("visionkit.cli.runs.train_and_print", lambda *all: asked.append(all))
    tiny_data.mnist(tmp_path)
    file = ROOT / "configs" / "mnist_mlp.py"
    assert main(["train", str(file), "--data-dir", str(tmp_path), *words]) == 0
    ((_, knobs, _, _, options),) = asked
    assert (knobs["batch_size"], options.devices) == ("auto", devices)

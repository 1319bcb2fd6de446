"""`--check`: what is well is called so, and what is broken on purpose is not."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from support import tiny_data
from support.paths import ROOT
from support.recipes import SIZE, of_kind, recipe
from support.tiny import tiny_backbone

from visionkit.checks.pace import RATE
from visionkit.checks.preflight import STEPS, _learn, anchor_coverage, oracle, practice, preflight
from visionkit.cli import main
from visionkit.data.arrays import arrays
from visionkit.data.dataset import Dataset
from visionkit.models import MODELS
from visionkit.train import recipe as recipe_module
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe
from visionkit.types import DataError


@pytest.fixture(scope="module")
def plan():
    return recipe()


@pytest.mark.slow
def test_a_good_recipe_passes():
    rows = {row.name: row for row in preflight(recipe, {"seed": 0})}
    assert list(rows) == ["anchors", "oracle", "learning", "numbers", "memory", "speed", "time"]
    for name in ("oracle", "learning", "numbers"):
        assert rows[name].ok, rows[name]
    assert str(rows["oracle"]).startswith("OK    oracle       mAP50 ")
    assert "images/s" in rows["speed"].figure
    assert re.fullmatch(r"about (\d+ min )?(\d+ s )?here", rows["time"].figure)


def test_the_oracle_sees_targets_that_cannot_be_decoded(plan, monkeypatch):
    assert oracle(plan).ok
    monkeypatch.setattr(plan.model, "variances", (0.1, 0.1, 0.4, 0.4))
    good = MODELS["ssd"].serving
    monkeypatch.setattr(plan.model, "serving", lambda: good(plan.model))
    targets = plan.model.targets
    monkeypatch.setattr(plan.model, "targets", lambda y: (targets(y)[0], targets(y)[1] * 3, *targets(y)[2:]))
    row = oracle(plan)
    assert not row.ok
    assert "the targets cannot express these objects" in str(row)


@pytest.mark.parametrize(
    ("kind", "part", "score"),
    [
        ("nanodet", "targets", "mAP50"),
        ("faster_rcnn", "anchor_targets", "mAP50"),
        ("faster_rcnn", "region_targets", "mAP50"),
        ("mask_rcnn", "mask_targets", "mask_mAP50"),
        ("keypoint_rcnn", "keypoint_targets", "keypoint_mAP50"),
        ("fcn", "class_names", "mIoU"),
    ],
)
def test_the_oracle_of_every_kind_sees_its_own_fault(kind, part, score, monkeypatch):
    broken = of_kind(kind)
    row = oracle(broken)
    assert row.ok, row
    assert f"{score} " in row.figure
    good = getattr(broken.model, part)
    if part == "class_names":
        wrong = good[::-1]
    elif part == "mask_targets":

        def wrong(*arguments):
            return 1.0 - good(*arguments)
    elif part == "keypoint_targets":

        def wrong(*arguments):
            place, known = good(*arguments)
            return place % 56 * 56 + place // 56, known  # rows for columns
    elif kind == "nanodet":

        def wrong(*arguments):
            labels, boxes, *rest = good(*arguments)
            return labels, boxes * 0.8, *rest
    else:

        def wrong(*arguments):
            *rest, deltas = good(*arguments)
            return *rest, 4 * deltas + 1

    monkeypatch.setattr(broken.model, part, wrong)
    assert not oracle(broken).ok


def test_check_tries_the_batch_that_auto_finds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("visionkit.checks.largest_batch.largest_batch", lambda recipe, knobs, *_: 4)
    file = ROOT / "configs" / "mnist_mlp.py"
    tiny_data.mnist(tmp_path)
    main(["train", str(file), "--data-dir", str(tmp_path), "--check", "--batch-size", "auto"])
    assert "steps of 4 images" in capsys.readouterr().out


def test_objects_that_no_anchor_covers_are_noticed(plan):
    sliver = [replace(r, boxes=np.float32([[1, 1, 90, 2]]), labels=np.int32([0])) for r in plan.train.records]
    row = anchor_coverage(replace(plan, train=Dataset(sliver, plan.train.class_names, plan.train.load)))
    assert not row.ok
    assert row.figure.startswith("0% of 16 objects")


def classifier(poison=False) -> Recipe:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, *SIZE, 3)).astype(np.uint8)
    data = arrays(images, np.arange(16) % 2, ["a", "b"])
    model = MODELS["classifier"](tiny_backbone(), 2, class_names=["a", "b"], image_size=SIZE, resize="stretch")

    def prepare():
        if poison:
            model.weights[0].assign(np.full(model.weights[0].shape, np.nan))

    return Recipe(model=model, train=data, phases=[Phase(1, keras.optimizers.SGD(0.1), prepare)], batch_size=8)


def test_it_practises_on_what_the_first_phase_sees_and_measures_the_last():
    plan, seen = classifier(), []

    def phase(name):
        return replace(plan.phases[0], transform=lambda sample, seed: seen.append(name) or sample)

    practice(replace(plan, phases=[phase(1), phase(2), phase(3)]))
    assert set(seen) == {1, 3}
    assert seen.index(3) > seen.index(1)


def test_a_classifier_passes_and_a_poisoned_one_does_not():
    keras.utils.set_random_seed(0)
    assert {row.name: row.ok for row in practice(classifier())}["learning"]
    poisoned = {row.name: row for row in practice(classifier(poison=True))}
    assert not poisoned["learning"].ok
    assert "NOT finite" in str(poisoned["numbers"])


def test_the_rate_of_the_trial_rises_as_in_every_recipe(monkeypatch):
    """At once, it threw off the eight layers of the keypoint head: loss 11.4 -> 36.7, and 6.0 with the rise."""
    plan, rates = classifier(), []

    def step(model, *batch):
        rates.append(float(model.optimizer.learning_rate))
        return 1.0

    monkeypatch.setattr("visionkit.checks.preflight.take_step", step)
    _learn(plan, plan.phases[0], Options(), STEPS)
    assert rates == pytest.approx([RATE * k / STEPS for k in range(1, STEPS + 1)])


def test_it_is_built_and_fed_as_the_run_would_be(monkeypatch):
    def twice():
        plan = classifier()
        seen.append(plan.model.compute_dtype)
        return replace(plan, phases=[*plan.phases, Phase(1, keras.optimizers.SGD(0.1))])

    seen, feed = [], recipe_module.batches
    monkeypatch.setattr(recipe_module, "batches", lambda *a, **k: seen.append(k["workers"]) or feed(*a, **k))
    preflight(twice, {}, Options(precision="mixed_bfloat16", workers=1))
    assert seen == ["bfloat16", 1, 1]  # two phases
    assert keras.config.dtype_policy().name == "float32"


def test_validation_images_of_other_classes_are_said():
    def other(**knobs):
        plan = recipe(**knobs)
        return replace(plan, val=Dataset(plan.train.records, ["moose"], plan.train.load, "val"))

    with pytest.raises(DataError, match="moose"):
        preflight(other, {})

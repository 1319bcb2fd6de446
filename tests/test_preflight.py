"""`--check`: what is well is called so, and what is broken on purpose is not."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from test_run import SIZE, recipe
from tiny import tiny_backbone

from visionkit.data.arrays import arrays
from visionkit.data.dataset import Dataset
from visionkit.models import MODELS
from visionkit.train.preflight import anchor_coverage, oracle, practice, preflight
from visionkit.train.recipe import Phase, Recipe


@pytest.fixture(scope="module")
def plan():
    return recipe()


def test_a_good_recipe_passes():
    rows = {row.name: row for row in preflight(recipe, {"seed": 0})}
    assert list(rows) == ["anchors", "oracle", "learning", "numbers", "memory", "speed"]
    for name in ("oracle", "learning", "numbers"):
        assert rows[name].ok, rows[name]
    assert str(rows["oracle"]).startswith("OK    oracle       mAP50 ")
    assert "images/s" in rows["speed"].figure


def test_the_oracle_sees_targets_that_cannot_be_decoded(plan, monkeypatch):
    assert oracle(plan).ok
    monkeypatch.setattr(plan.model, "variances", (0.1, 0.1, 0.4, 0.4))
    good = MODELS["ssd"].serving
    monkeypatch.setattr(plan.model, "serving", lambda: good(plan.model))
    targets = plan.model.targets
    monkeypatch.setattr(plan.model, "targets", lambda y: (targets(y)[0], targets(y)[1] * 3, *targets(y)[2:]))
    row = oracle(plan)
    assert not row.ok
    assert "what the targets cannot say" in str(row)


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


def test_a_classifier_passes_and_a_poisoned_one_does_not():
    keras.utils.set_random_seed(0)
    assert {row.name: row.ok for row in practice(classifier())}["learning"]
    poisoned = {row.name: row for row in practice(classifier(poison=True))}
    assert not poisoned["learning"].ok
    assert "NOT finite" in str(poisoned["numbers"])

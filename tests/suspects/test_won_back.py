"""tools/benchmarks/suspects_won_back.py: which labels are learned from, and what is said of the trainings."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.paths import ROOT
from support.worlds import detector
from support.wrong_labels import plant

from visionkit.data.recognise import open_dataset
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.suspects.suspect import MISSING, Suspect

sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))
import suspects_won_back as tool


def boxes_in(folder):
    records = open_dataset(folder, "train", "detect").records
    return {r.id: sorted(zip(np.round(r.boxes, 3).tolist(), r.labels.tolist(), strict=True)) for r in records}


def test_what_is_found_is_put_right_and_the_rest_stays_wrong(tmp_path, monkeypatch):
    write_coco(shapes(40, (64, 96), seed=0), tmp_path / "data", "train")
    right = open_dataset(tmp_path / "data", "train", "detect")
    pairs = [(replace(record, ignore=None), None) for record in right.records]
    _, planted = plant(pairs, 0.2, 3, len(right.class_names))

    def suspects(labels, *_):
        read = open_dataset(labels, "train", "detect")
        places = {record.id: number for number, record in enumerate(read.records)}
        several = [Suspect(image=0, kind=MISSING, score=1.0, proposed_box=np.float32([0, 0, 1, 1]))]  # of nothing
        for image, kind, box in reversed(planted):
            given = {"proposed_box": box} if kind == MISSING else {"box": box}
            several.append(Suspect(image=places[right.records[image].id], kind=kind, score=0.5, **given))
        return several, read

    monkeypatch.setattr(tool, "train", lambda data, out, knobs: data)
    monkeypatch.setattr(tool, "ranked_suspects", suspects)
    knobs = dict.fromkeys(tool.KNOBS)
    given = {"data": tmp_path / "data", "work": tmp_path / "work", "share": 0.2, "first": [5, 100]}
    options = SimpleNamespace(**given, **knobs, folds=2, fold_epochs=None)
    runs, said = tool.trained_models(options, 3)
    assert said == {"labels": sum(len(r.boxes) for r in right.records), "planted": len(planted)} | {
        "of_first_50": min(49, len(planted)),
        "corrected_5": 4,
        "corrected_100": len(planted),
    }
    truth, wrong, better, best = (boxes_in(runs[key]) for key in ("right", "wrong", "corrected_5", "corrected_100"))
    assert truth == best == boxes_in(tmp_path / "data") and wrong != truth
    mended = {right.records[image].id for image, *_ in planted[-4:]}
    assert {id for id in wrong if wrong[id] != better[id]} == mended
    left = {right.records[image].id for image, *_ in planted[:-4]}
    assert {id for id in truth if truth[id] != better[id]} <= left


def test_differences_are_those_of_the_seeds_and_of_their_mean():
    looks = [detector(np.random.default_rng(seed), 60, looks=3) for seed in range(2)]  # of each seed's models
    tables = {labels: [[each[k]] for each in looks] for k, labels in enumerate(("right", "wrong", "corrected_100"))}
    said = tool.differences(tables, ["a", "b", "c"])
    assert list(said) == ["right_less_wrong", "corrected_100_less_wrong", "right_less_corrected_100"]
    row = said["right_less_wrong"]["mAP50"]
    assert row["mean"] == pytest.approx(np.mean([each["by"] for each in row["seeds"]]))
    ones = np.ones((1, 60))
    right, wrong = (tables[labels][1][0].scores(ones).overall["mAP50"][0] for labels in ("right", "wrong"))
    assert row["seeds"][1]["by"] == pytest.approx(right - wrong)
    assert row["low"] < row["mean"] < row["high"]
    first, second = (each["by"] for each in row["seeds"])
    half = 12.706 * abs(first - second) / 2  # Student's with one degree of freedom, times the standard error
    assert [row["low_seeds"], row["high_seeds"]] == pytest.approx([row["mean"] - half, row["mean"] + half], rel=1e-3)

"""`visionkit suspects`: planted errors are found, named and ranked; how predictions are read; what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import tiny_classifier, tiny_data
from support.detections import found, sample
from support.wrong_labels import found_errors, hits, plant

from visionkit.cli import main
from visionkit.data.dataset import Dataset
from visionkit.data.recognise import open_dataset
from visionkit.images import write_image
from visionkit.recipes import RECIPES
from visionkit.suspects.boxes import suspicious_boxes
from visionkit.suspects.classes import suspicious_classes
from visionkit.suspects.page import SIDE, draw
from visionkit.suspects.predictions import ask, read_predictions
from visionkit.suspects.suspect import CLASS, INVENTED, MISSING, PLACE
from visionkit.types import DataError

PLACES = np.float32([[10, 10, 50, 50], [60, 10, 110, 60], [120, 10, 160, 60]])  # of a cat, a dog and a cat
LABELS = [0, 1, 0]


def scene(i, boxes=PLACES, labels=LABELS, scores=(0.9, 0.8, 0.7)):
    """An image with right labels unless others are given; the detector is nearly right."""
    scores = np.float32(scores) - i / 1000
    return sample(boxes, labels, name=str(i)), found(PLACES + np.float32([1, 0, 1, 0]), scores, LABELS)


def with_errors(images=20):
    """Four images with one wrong label each, among others without."""
    pairs = [scene(i) for i in range(images)]
    pairs[3] = scene(3, PLACES[[0, 2]], [0, 0])
    pairs[5] = scene(5, np.concatenate([PLACES, [[100, 100, 140, 140]]]), [*LABELS, 1])
    pairs[7] = scene(7, labels=[0, 0, 0])
    pairs[9] = scene(9, PLACES + np.float32([[0] * 4, [25, 15, 25, 15], [0] * 4]))
    return pairs


def test_errors_of_four_kinds_are_found_and_nothing_else():
    suspects = suspicious_boxes(with_errors(), 2)
    assert {(s.image, s.kind) for s in suspects} == {(3, MISSING), (5, INVENTED), (7, CLASS), (9, PLACE)}
    by_kind = {s.kind: s for s in suspects}
    assert by_kind[MISSING].label is None and by_kind[MISSING].proposed_label == 1
    assert by_kind[MISSING].proposed_box.tolist() == [61, 10, 111, 60]
    assert (by_kind[INVENTED].row, by_kind[INVENTED].proposed_box) == (3, None)
    assert (by_kind[CLASS].label, by_kind[CLASS].proposed_label, by_kind[CLASS].row) == (0, 1, 1)
    assert by_kind[PLACE].box.tolist() == [85, 25, 135, 75] and by_kind[PLACE].proposed_label == 1
    assert [s.score for s in suspects] == sorted((s.score for s in suspects), reverse=True)
    assert by_kind[CLASS].in_words(["cat", "dog"]) == "wrong class: cat, probably dog (0.79)"


def test_ranks_do_not_change_with_the_scale_of_the_scores():
    pairs = with_errors()
    flat = [(s, replace(d, scores=(d.scores**4).astype(np.float32))) for s, d in pairs]
    before, after = (suspicious_boxes(some, 2) for some in (pairs, flat))
    assert [(s.image, s.kind, s.score) for s in before] == [(s.image, s.kind, s.score) for s in after]


def test_crowds_are_no_suspects_and_excuse_detections():
    pairs = [scene(i) for i in range(10)]
    crowd = replace(pairs[0][0], ignore=np.array([False, True, False]))
    assert suspicious_boxes([(crowd, pairs[0][1]), *pairs[1:]], 2) == []
    nothing = found(np.empty((0, 4)), [], [])
    kinds = [s.kind for s in suspicious_boxes([(crowd, nothing), *pairs[1:]], 2)]
    assert kinds == [INVENTED, INVENTED]  # without the crowd


def test_a_class_that_the_model_never_finds_is_not_suspicious():
    pairs = [(s, d[d.labels == 0]) for s, d in (scene(i) for i in range(10))]
    assert suspicious_boxes(pairs, 2) == []
    empty = sample(np.empty((0, 4)), [], name="none")
    assert suspicious_boxes([(empty, found(np.empty((0, 4)), [], []))], 2) == []


def drawn(seed, images=120):
    """Five objects an image, some of which the detector is unsure of, and false alarms."""
    rng, pairs = np.random.default_rng(seed), []
    for i in range(images):
        corners = np.stack([np.arange(5) * 40.0 + 5, rng.uniform(5, 60, 5)], 1)
        true = np.concatenate([corners, corners + rng.uniform(20, 34, (5, 2))], 1).astype(np.float32)
        labels = rng.integers(0, 3, 5)
        alarms = rng.uniform(100, 150, (3, 2))
        said = np.concatenate([true + rng.normal(0, 1, (5, 4)), np.concatenate([alarms, alarms + 25], 1)])
        scores = np.where(rng.random(5) < 0.9, rng.beta(6, 2, 5), rng.beta(1, 8, 5))
        scores, kinds = np.append(scores, rng.beta(1, 8, 3)), np.append(labels, rng.integers(0, 3, 3))
        order = np.argsort(-scores)
        size = (200, 240)
        pairs.append((sample(true, labels, size, str(i)), found(said[order], scores[order], kinds[order], size)))
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_planted_errors_come_first_and_by_their_names(seed):
    right = drawn(seed)
    pairs, errors = plant(right, 0.05, seed, num_classes=3)
    assert len(errors) == 28
    first = suspicious_boxes(pairs, 3)[:14]
    kinds = hits(first, errors)
    assert np.mean([kind != "" for kind in kinds]) >= 0.8
    assert np.mean([kind == suspect.kind for kind, suspect in zip(kinds, first, strict=True)]) >= 0.7
    assert not any(hits(suspicious_boxes(right, 3)[:14], errors[7:]))  # without them, nothing is found at their places


def test_planted_errors_are_put_right_and_the_others_stay():
    right = drawn(0)
    wrong, errors = plant(right, 0.05, 0, num_classes=3)
    mended, none = plant(right, 0.05, 0, num_classes=3, corrected=range(28))
    assert none == [] and boxes_of(mended) == boxes_of(right) != boxes_of(wrong)
    found = found_errors(suspicious_boxes(wrong, 3)[:14], errors)
    corrected = {number for number in found if number >= 0}
    assert len(corrected) >= 11 and len(found) == 14
    better, left = plant(right, 0.05, 0, num_classes=3, corrected=corrected)
    assert [kind for _, kind, _ in left] == [kind for n, (_, kind, _) in enumerate(errors) if n not in corrected]
    touched = {errors[number][0] for number in corrected}
    for image, (before, after) in enumerate(zip(boxes_of(wrong), boxes_of(better), strict=True)):
        assert (before != after) == (image in touched)


def boxes_of(pairs):
    return [sorted(zip(s.boxes.tolist(), s.labels.tolist(), strict=True)) for s, _ in pairs]


def test_wrong_classes_of_images_are_found_by_what_is_usual_for_each_class():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    # The model is sure of class 0 and never of class 2: a common threshold would find nothing of it.
    sure = np.array([6.0, 4.0, 1.5])[truth]
    logits = rng.normal(0, 0.4, (300, 3))
    logits[np.arange(300), truth] += sure
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = rng.choice(300, 15, replace=False)
    given = truth.copy()
    given[wrong] = (given[wrong] + 1) % 3
    suspects = suspicious_classes(probabilities, given)
    first = suspects[:15]
    assert np.mean([s.image in wrong for s in first]) >= 0.9
    assert all(s.proposed_label == truth[s.image] and s.kind == CLASS for s in first if s.image in wrong)
    assert suspicious_classes(np.eye(3)[truth], truth) == []
    (first, second) = suspicious_classes(np.float64([[0, 1], [0, 1], [0, 1]]), np.array([0, 0, 1]))  # never class 0
    assert (first.score, second.score) == (1, 1)


@pytest.fixture
def data(tmp_path):
    """Two images of a cat each; in b.png a dog is missing."""
    return tiny_data.table(
        tmp_path / "data", "filename,class,xmin,ymin,xmax,ymax\na.png,cat,2,3,17,17\na.png,dog,20,3,35,17\n"
        "b.png,cat,2,3,17,17\n", "ab"
    )  # fmt: skip


def detections(file, *rows):
    keys = ("file_name", "category", "bbox", "score")
    file.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    return file


CAT, DOG = [2, 3, 15, 14], [20, 3, 15, 14]


def test_the_command_reads_detections_and_writes_page_json_and_tasks(data, tmp_path, capsys):
    said = detections(
        tmp_path / "said.json",
        *(("a.png", "cat", CAT, 0.9), ("x/a.png", "dog", DOG, 0.8)),
        *(("b.png", "cat", CAT, 0.9), ("b.png", "dog", DOG, 0.85), ("b.png", "horse", DOG, 0.99)),
    )
    words = ["suspects", str(data), "--from-run", str(said), "--html", str(tmp_path / "p.html")]
    words += ["--json", str(tmp_path / "p.json"), "--to", "cvat", "--tasks", str(tmp_path / "tasks")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "2 images, 1 suspicious labels: 1 missing" in out and "b: missing: dog (0.85)" in out
    content = json.loads((tmp_path / "p.json").read_text())
    (row,) = content["suspects"]
    assert (row["id"], row["kind"], row["proposed_class"]) == ("b", "missing", "dog")
    assert row["proposed_box"] == [20, 3, 35, 17] and content["kinds"] == {"missing": 1}
    page = (tmp_path / "p.html").read_text()
    assert "1 labels to look at" in page and "missing: dog (0.85)" in page and page.count("<img") == 1
    assert len(open_dataset(tmp_path / "tasks")[1].boxes) == 1  # a proposal is no label
    assert main(words) == 1
    assert "tasks: already exists; choose a new or an empty folder" in capsys.readouterr().err


def test_images_of_which_nothing_is_said_are_left_out(data, tmp_path, capsys):
    said = detections(tmp_path / "said.json", ("b.png", "cat", CAT, 0.9))
    assert main(["suspects", str(data), "--from-run", str(said), "--html", str(tmp_path / "p.html")]) == 0
    assert f"1 images were left out: {said} says nothing about them" in capsys.readouterr().out
    with pytest.raises(DataError, match="says nothing about the images of CSV"):
        read_predictions(detections(said, ("z.png", "cat", CAT, 0.9)), open_dataset(data))


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("a.json", '[{"file": 1}]', r"a\.json: not the predictions that visionkit folds or detect writes \(KeyError"),
        ("a.json", "[", r"a\.json: broken JSON"),
        ("a.jsonl", '{"id": "a", "classes": ["cat"], "objects": []}', "classes that the model lacks: dog"),
        ("a.csv", "id,label\n", "expected the columns id, fold, label, predicted and the classes, found"),
        ("a.txt", "", r"expected a file \.jsonl, \.json, \.csv with predictions, or a folder of visionkit folds"),
    ],
)
def test_files_without_predictions_are_refused(data, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / name, open_dataset(data))


def test_out_of_fold_predictions_are_matched_by_id_and_classes_by_name(data, tmp_path):
    folder = tmp_path / "folds"
    folder.mkdir()
    (folder / "folds.json").write_text('{"predictions": "out_of_fold.jsonl"}')
    objects = [{"label": 1, "score": 0.5, "box": [2, 3, 17, 17]}, {"label": 0, "score": 0.9, "box": [20, 3, 35, 17]}]
    lines = [{"id": id, "fold": 0, "classes": ["dog", "cat"], "size": [30, 40], "objects": objects} for id in "ba"]
    (folder / "out_of_fold.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    read = read_predictions(folder, open_dataset(data))
    assert [record.id for record in read.dataset.records] == ["a", "b"] and read.left_out == 0
    assert read.answers[0].labels.tolist() == [1, 0]  # by descending score, in the ids of the data: cat, dog
    (folder / "folds.json").write_text("{}")
    with pytest.raises(DataError, match="these folds have not finished"):
        read_predictions(folder, open_dataset(data))


def test_classes_of_images_are_read_from_out_of_fold_csv(tmp_path, capsys):
    images = "".join(f"{k}{i}.png,{k}\n" for k in ("cat", "dog") for i in range(4))
    data = tiny_data.table(tmp_path / "data", f"image,label\n{images}", [f"{k}{i}" for k in ("cat", "dog") for i in range(4)])  # fmt: skip # noqa: E501
    rows = [f"{k}{i},0,{k},{k},{0.1 if k == 'cat' else 0.9},{0.9 if k == 'cat' else 0.1}" for k in ("cat", "dog") for i in range(4)]  # fmt: skip # noqa: E501
    rows[2] = "cat2,0,cat,dog,0.95,0.05"
    said = tmp_path / "out_of_fold.csv"
    said.write_text("\n".join(["id,fold,label,predicted,dog,cat", *rows]) + "\n")
    words = ["suspects", str(data), "--from-run", str(said), "--html", str(tmp_path / "p.html")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "8 images, 1 suspicious labels: 1 wrong class" in out
    assert "cat2: wrong class: cat, probably dog (0.95)" in out
    assert main([*words, "--to", "cvat", "--tasks", str(tmp_path / "tasks")]) == 1
    assert "--to writes boxes; the page and --json list images" in capsys.readouterr().err


def test_without_predictions_models_are_trained_that_have_not_seen_the_images(tmp_path, monkeypatch, capsys):
    for k, name in enumerate(("top", "middle", "bottom")):
        for i in range(6):
            image = np.full((6, 6, 3), 40 + i, np.uint8)
            image[2 * k : 2 * k + 2] += 150
            write_image(tmp_path / "data" / "train" / name / f"{name}{i}.png", image)
            write_image(tmp_path / "data" / "test" / name / f"{name}{i}.png", image)
    (tmp_path / "data" / "train" / "top" / "top3.png").rename(tmp_path / "data" / "train" / "bottom" / "wrong.png")
    monkeypatch.setitem(RECIPES, "classify", tiny_classifier.of_folder)
    words = ["suspects", str(tmp_path / "data"), "--k", "3", "--epochs", "40", "--out", str(tmp_path / "folds")]
    words += ["--html", str(tmp_path / "p.html"), "--json", str(tmp_path / "p.json")]
    assert main(["19" if word == "3" else word for word in words]) == 1
    assert "--k 19: expected 2 to 18 folds, as there are 18 training images" in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "fold 3 of 3" in out and "18 images," in out  # of train, whose images the models could learn from
    content = json.loads((tmp_path / "p.json").read_text())
    first = content["suspects"][0]
    assert (Path(first["file"]).name, first["proposed_class"]) == ("wrong.png", "top")
    assert content["left_out"] == 0 and content["predictions"] == str(tmp_path / "folds")
    assert main([*words, "--seed", "1"]) == 1  # the folder's trainings had another seed
    assert "name another folder with --out" in capsys.readouterr().err


class Says:
    """Stands where a detector does."""

    task, class_names = "detect", ["horse", "dog", "cat"]

    def __call__(self, dataset, score):
        return [found(np.float32([[2, 3, 17, 17], [2, 3, 17, 17]]), [0.9, 0.4], [0, 2]) for _ in dataset]


def test_a_model_may_know_more_classes_than_the_data(data):
    said = ask(Says(), open_dataset(data))
    assert said.answers[0].labels.tolist() == [0] and said.answers[0].scores.tolist() == pytest.approx([0.4])
    painter = Says()
    painter.task = "style"
    with pytest.raises(DataError, match="found in boxes, classes and maps; this model is for the task style"):
        ask(painter, open_dataset(data))


def test_a_run_that_has_learned_from_the_images_is_warned_of(tmp_path, monkeypatch, capsys):
    data = tiny_data.voc(
        tmp_path / "data", {"a": [("cat", 1, 1, 9, 9)], "b": [("cat", 1, 1, 9, 9)]}, {"train": ["a"], "val": ["b"]}
    )
    monkeypatch.setattr("visionkit.open_model.open_predictor", lambda model: Says())
    run = tmp_path / "run"
    run.mkdir()
    (run / "knobs.json").write_text(json.dumps({"data": str(data)}))
    words = ["suspects", str(data), "--from-run", str(run), "--html", str(tmp_path / "p.html")]
    assert main([*words, "--split", "val"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert main(words) == 0
    assert f"warning: {run} seems to have learned from train of these images" in capsys.readouterr().out


def test_options_that_belong_together_are_asked_for(data, tmp_path, capsys):
    assert main(["suspects", str(data), "--to", "cvat"]) == 1
    assert "--to names the program's format and --tasks the new folder: give both" in capsys.readouterr().err
    assert (
        main(["suspects", str(tiny_data.FORMATS["images and class maps"](tmp_path / "maps") or tmp_path / "maps")]) == 1
    )
    assert (
        "is for the task segment; for class maps name a model that has not learned from them" in capsys.readouterr().err
    )


def test_the_picture_shows_the_surroundings_with_both_boxes():
    image = np.full((400, 600, 3), 99, np.uint8)
    pairs = with_errors()
    place = next(s for s in suspicious_boxes(pairs, 2) if s.kind == PLACE)
    whole = replace(pairs[place.image][0], image=image, image_size=(400, 600))
    drawn = draw(replace(place, image=0), Dataset([whole], ["cat", "dog"]))
    assert max(drawn.shape) == SIDE
    for colour in ((230, 30, 40), (20, 170, 70)):
        assert (drawn == colour).all(axis=2).sum() > 50

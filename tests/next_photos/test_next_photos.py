"""`visionkit next`: what is chosen and why, what is left out or refused, and when more labels stop helping."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from support import tiny_data
from support.models import BUILD
from support.tiny import SIZE, tiny_backbone

import visionkit as vk
from visionkit.cli import main
from visionkit.images import read_image, write_image
from visionkit.next_photos.choose import choose
from visionkit.next_photos.curve import advice
from visionkit.next_photos.find import Choice, Selection, without_copies
from visionkit.next_photos.look import comparable, doubt_of_classes, doubt_of_detections, look
from visionkit.next_photos.page import page
from visionkit.next_photos.tasks import write_tasks
from visionkit.predict.predictor import Predictor
from visionkit.resizing import fit, letterbox_factors
from visionkit.types import DataError, Detections

POINTS = np.array([[0.0, 0], [0, 1], [10, 0], [10, 1], [0, 0]])


def test_the_product_of_doubt_and_distance_decides():
    doubts = np.array([0.9, 1.0, 0.5, 0.6, 0.8])
    rows, distances = zip(*choose(doubts, POINTS, 5), strict=True)
    # The most doubtful first; then 0.6 * 10 beats 0.8 * 1; then the neighbours, at a distance of 1: 0.9, 0.5; and at
    # last row 4, which is the same as row 0.
    assert rows == (1, 3, 0, 2, 4)
    assert np.isnan(distances[0]) and distances[1:] == (10, 1, 1, 0)


def test_what_is_labelled_is_kept_away_from():
    rows = [row for row, _ in choose(np.ones(5), POINTS, 2, known=np.array([[0.0, 0], [0, 2]]))]
    assert rows == [
        3,
        1,
    ]  # from (0, 0) and (0, 2) the point (10, 1) is farthest; then (0, 1) and (10, 0) both are 1 away
    many = np.random.default_rng(0).normal(size=(600, 2))
    (_, distance), *_ = choose(np.ones(5), POINTS, 1, known=many)
    assert distance == pytest.approx(np.linalg.norm(POINTS[:, None] - many, axis=2).min(axis=1).max())


def test_photos_that_a_model_is_sure_of_are_chosen_once_and_in_order():
    assert [row for row, _ in choose(np.zeros(3), np.zeros((3, 2)), 3)] == [0, 1, 2]
    rng = np.random.default_rng(1)
    rows = [row for row, _ in choose(rng.random(50), rng.normal(size=(50, 4)), 50)]
    assert sorted(rows) == list(range(50))


def test_doubts_of_classes_and_of_detections():
    assert doubt_of_classes(np.array([0.1, 0.6, 0.3])) == pytest.approx(0.7)
    assert doubt_of_classes(np.array([1.0])) == 0
    scores = np.array([0.3, 0.65, 1.0, 0.225, 0.15, 0.05, 0.0])  # of the score; half way up; sure; half way down; noise
    assert doubt_of_detections(scores, 0.3) == pytest.approx(1 + 0.5 + 0 + 0.5)


def test_features_are_compared_without_their_scales():
    one, two = comparable(np.array([[1.0, 1000], [2, 3000]]), np.array([[3.0, 2000]]))
    assert np.linalg.norm(np.concatenate([one, two]), axis=1) == pytest.approx(1)
    assert one[0] == pytest.approx([-(0.5**0.5), -(0.5**0.5)])


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        write_image(tmp_path / "photos" / f"{i}.png", rng.integers(0, 255, (40, 90 - 10 * i, 3)).astype(np.uint8))
    return tmp_path / "photos"


def classifier():
    keras.utils.set_random_seed(0)
    return vk.Classifier(tiny_backbone(), 3, ["cat", "dog", "cow"], image_size=SIZE, resize="stretch", head="pool")


def test_a_classifier_is_asked_once_for_scores_and_features(photos):
    predictor = Predictor(classifier(), batch_size=4)
    files = sorted(photos.iterdir())
    (photos / "9.png").write_bytes(b"broken")
    seen = look(predictor, [*files[:3], photos / "9.png", *files[3:]], 0.3)
    assert seen.read.tolist() == [0, 1, 2, 4, 5, 6] and "9.png" in seen.failures[0].error
    for row, said in enumerate(predictor(files)):
        assert seen.doubts[row] == pytest.approx(doubt_of_classes(said.scores), abs=1e-5)
    images = np.stack([fit(read_image(file), SIZE, "stretch")[0] for file in files])
    levels = predictor.model.backbone(images.astype(np.float32))
    expected = np.asarray(levels["features" if "features" in levels else max(levels)]).mean(axis=(1, 2))
    np.testing.assert_allclose(seen.features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["nanodet", "faster_rcnn", "mask_rcnn"])
def test_the_doubt_of_a_detector_is_that_of_its_detections(photos, name):
    keras.utils.set_random_seed(0)
    predictor = Predictor(BUILD[name](), batch_size=4)
    files = sorted(photos.iterdir())[:3]
    expected = [doubt_of_detections(said.scores, 0.1) for said in predictor(files, score=0.0)]
    assert look(predictor, files, 0.1).doubts == pytest.approx(expected, abs=1e-4)


def test_the_doubt_of_a_segmenter_is_its_pixels_entropy_without_the_border(photos):
    keras.utils.set_random_seed(0)
    model = BUILD["fcn"]()
    file = photos / "0.png"  # 40 x 90: two thirds of a square network are border
    seen = look(Predictor(model, batch_size=2), [file], 0.3)
    pixels = fit(read_image(file), SIZE, "letterbox")[0][None].astype(np.float32)
    shares = np.asarray(model.serving()(pixels)["probabilities"])[0]
    h, w = letterbox_factors((40, 90), SIZE)[0]
    entropy = -(shares * np.log(shares)).sum(axis=-1)[:h, :w].mean() / np.log(3)
    assert h * w < 0.8 * SIZE[0] * SIZE[1]
    assert seen.doubts[0] == pytest.approx(entropy, abs=1e-4)


def test_photos_that_are_labelled_under_another_name_are_left_out(photos, tmp_path):
    copy = tmp_path / "data" / "train" / "cat" / "copy.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((photos / "2.png").read_bytes())
    files = sorted(photos.iterdir())
    same_size = copy.with_name("other.png")
    same_size.write_bytes(b"\0" * (photos / "3.png").stat().st_size)
    dataset = vk.Dataset([vk.Sample(id=file.name, file=file, image_size=(9, 9)) for file in (copy, same_size)], ["cat"])
    assert without_copies(files, dataset) == [file for file in files if file.name != "2.png"]


def test_the_command_says_what_is_next_and_why(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier().save(tmp_path / "model.keras")
    for name in ("cat", "dog", "cow"):
        target = tmp_path / "data" / "train" / name / f"{name}.png"
        target.parent.mkdir(parents=True)
        write_image(target, np.full((30, 30, 3), len(name) * 20, np.uint8))
    (tmp_path / "data" / "train" / "cat" / "again.png").write_bytes((photos / "0.png").read_bytes())
    words = ["next", "model.keras", "photos", "--data", "data", "--json", "next.json"]
    assert main([*words, "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert "6 photos, 1 of them labelled already and left out" in out and "label these 3 next:" in out
    content = json.loads((tmp_path / "next.json").read_text())
    assert (content["photos"], content["labelled"], content["flat"]) == (6, 1, False)
    assert len({row["file"] for row in content["chosen"]}) == 3
    assert not any(row["file"].endswith("0.png") for row in content["chosen"])
    assert " or " in content["chosen"][0]["why"] and "unlike the others (" in content["chosen"][0]["why"]
    page = (tmp_path / "next.html").read_text()
    assert "Label these 3 photos next" in page and page.count("<img") == 3
    assert main([*words, "-n", "6"]) == 1
    assert "-n 6: only 5 left to choose from (6 in all, of which 1 are labelled already); give -n 5" in (
        capsys.readouterr().err
    )
    assert main([*words, "-n", "3", "--to", "cvat", "--tasks", "tasks"]) == 1
    assert "--to writes boxes; the page and --json list the photos" in capsys.readouterr().err
    assert main(["next", "model.keras", "data/train/cow/cow.png", "--data", "data", "-n", "1"]) == 1
    assert "only 0 left to choose from (1 in all, of which 1 are labelled" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert main(["next", "model.keras", "none"]) == 1
    assert "none: holds no images" in capsys.readouterr().err


def test_wrong_uses_are_refused_in_one_line(photos):
    with pytest.raises(DataError, match="-n 0: expected 1 or more photos"):
        vk.next_photos(classifier(), photos, 0)
    with pytest.raises(DataError, match="--score 1: expected more than 0 and less than 1"):
        vk.next_photos(classifier(), photos, 1, score=1)
    with pytest.raises(DataError, match="-n 9: only 6 left to choose from; give -n 6 or less, or more photos"):
        vk.next_photos(classifier(), photos, 9)

    other = vk.Dataset(
        [vk.Sample(id="a", image_size=(9, 9), image=np.zeros((9, 9, 3), np.uint8))], ["car"], source="it"
    )
    with pytest.raises(DataError, match=r"^it: labelled with car, but the model knows cat, dog, cow; is it other data"):
        vk.next_photos(classifier(), photos, 1, dataset=other)

    class Export:
        image_size, resize, class_names, task = SIZE, "stretch", ["cat"], "classify"

        def serving(self):
            return self

    with pytest.raises(DataError, match="this model has no features in which photos can be compared, as an export"):
        vk.next_photos(Predictor(Export()), photos, 1)


def selection(photos):
    boxes, scores = np.float32([[2, 3, 20, 30], [5, 5, 15, 15]]), np.float32([0.9, 0.4])
    chosen = []
    for name in ("4.png", "1.png"):
        size = read_image(photos / name).shape[:2]
        said = Detections(
            id=name,
            file=photos / name,
            image_size=size,
            class_names=["cat", "dog"],
            boxes=boxes,
            scores=scores,
            labels=np.int32([1, 0]),
        )
        chosen.append(Choice(file=photos / name, doubt=1.5, distance=0.5, prediction=said))
    return Selection(chosen=chosen, photos=6, labelled=0, failures=[])


def test_cvat_gets_the_boxes_as_drafts_in_the_order_of_labelling(photos, tmp_path):
    line = write_tasks(selection(photos), ["cat", "dog"], "cvat", tmp_path / "out")
    assert line == f"{tmp_path / 'out'}: 2 photos for cvat with 4 boxes to be corrected, 2 images linked"
    tree = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot()
    assert [image.get("name") for image in tree.iter("image")] == ["4.png", "1.png"]
    assert {(box.get("source"), len(box)) for box in tree.iter("box")} == {("auto", 0)}
    read = vk.open_dataset(tmp_path / "out")
    assert read.class_names == ["cat", "dog"] and read[0].labels.tolist() == [1, 0]
    assert read[0].boxes.tolist() == [[2, 3, 20, 30], [5, 5, 15, 15]]


def test_label_studio_gets_predictions_and_nothing_counts_as_labelled(photos, tmp_path):
    write_tasks(selection(photos), ["cat", "dog"], "labelstudio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert [task["data"]["file"] for task in tasks] == ["images/4.png", "images/1.png"]
    assert all(task["annotations"] == [] and "suspects" not in task["data"] for task in tasks)
    regions = tasks[0]["predictions"][0]["result"]
    assert [region["value"]["rectanglelabels"] for region in regions] == [["dog"], ["cat"]]
    tasks[0]["annotations"] = [{"result": regions[:1]}]  # as after submitting the first task
    (tmp_path / "out" / "tasks.json").write_text(json.dumps(tasks))
    read = vk.open_dataset(tmp_path / "out")
    assert [record.file.name for record in read.records] == ["4.png"] and len(read[0].boxes) == 1


def write_runs(folder, scores, **more):
    for i, (images, score) in enumerate(scores):
        results = {
            "task": "classify",
            "class_names": ["cat"],
            "knobs": {"data": f"d{i}", "lr": 1},
            "verdict": "healthy",
        }
        results |= {"train_images": images, "top1": score} | more
        tiny_data.text(folder / f"run{i}" / "results.json", json.dumps(results))
    return folder / f"run{len(scores) - 1}"


def test_a_flat_learning_curve_stops_asking_for_labels(tmp_path):
    run = write_runs(tmp_path / "steep", [(20, 0.5), (40, 0.6), (80, 0.7), (80, 0.72)])
    # 0.71 on average: a line over log2 rises by 0.105 from one doubling to the next, and 80 more are one.
    words, flat = advice(run, 80)
    assert not flat and words == (
        "top1 was 0.500 with 20, 0.600 with 40, 0.710 with 80 training images; by that, 80 more should add about 0.105"
    )
    run = write_runs(tmp_path / "flat", [(20, 0.5), (100, 0.80), (200, 0.805), (400, 0.80)])
    words, flat = advice(run, 50)
    assert flat and words.startswith("the learning curve is flat: top1 was 0.800 with 100, 0.805 with 200, 0.800 with")
    assert "50 more should add about 0.000; look for wrong labels" in words


def test_runs_of_another_kind_are_not_on_the_curve(tmp_path):
    run = write_runs(tmp_path, [(20, 0.5), (40, 0.6), (80, 0.7)])
    other = json.loads((run / "results.json").read_text()) | {"train_images": 160, "knobs": {"lr": 2}}
    tiny_data.text(tmp_path / "other" / "results.json", json.dumps(other))
    tiny_data.text(tmp_path / "broken" / "results.json", "[")
    assert "0.700 with 80 training images" in advice(run, 9)[0]
    (tmp_path / "run0" / "results.json").unlink()
    assert advice(tmp_path / "model.keras", 9) == ("", False)
    expected = f"to tell whether more labels still help, keep 3 runs on different numbers of images beside {run}"
    assert advice(run, 9) == (expected, False)
    unfinished = write_runs(tmp_path / "more", [(20, 0.5)], verdict="still improving: train for more epochs")
    assert advice(unfinished, 9)[0].startswith(
        f"before more is labelled: the training of {unfinished} is still improving"
    )


def test_a_flat_curve_changes_the_words_of_the_page(photos):
    shown = page(selection(photos), "runs/<first>", "the learning curve is flat: x", flat=True)
    assert "2 photos, if you label more" in shown and "The learning curve is flat: x." in shown
    assert "runs/&lt;first&gt;" in shown and shown.count("<img") == 2
    unsure = replace(selection(photos).chosen[0], distance=float("nan"))
    assert unsure.in_words() == "2 objects; with those below the score, their doubts add up to 1.50"

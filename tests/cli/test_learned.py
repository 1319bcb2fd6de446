"""Whether a run has learned from a data set: by the path in its knobs, and by the name if the run was moved."""

import json
import shutil

import numpy as np
import pytest
from support import tiny_data

import visionkit as vk
from visionkit.cli import main
from visionkit.cli.learned import is_another_part, learned_from, learned_images, tells_its_data
from visionkit.data.recognise import open_dataset


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a project with a run in runs/first, whose knobs name its data, and stands in another folder."""
    run = tmp_path / "project" / "runs" / "first"
    run.mkdir(parents=True)
    for folder in ("project/photos/test", "project/photos/train", "elsewhere/photos", "elsewhere/images"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / "elsewhere")

    def with_knobs(**knobs):
        (run / "knobs.json").write_text(json.dumps(knobs))
        return run

    return tmp_path, with_knobs


@pytest.mark.parametrize("given", ["photos", "{root}/project/photos", "../project/photos"])
def test_the_same_folder_is_recognised_under_any_name_and_another_of_the_same_name_is_not(made, given):
    root, with_knobs = made
    run = with_knobs(data=given.format(root=root), learn_from="train+val")
    (root / "link").symlink_to(root / "project" / "photos")
    for data in (root / "project" / "photos", root / "link"):
        assert learned_from(run, data, None) == "train+val"
        assert learned_from(run, data, "val") == "train+val"
        assert learned_from(run, data, "test") == ""
    if given != "photos":  # which may as well be the one in the working folder
        assert learned_from(run, root / "elsewhere" / "photos", None) == ""
    assert learned_from(run, root / "elsewhere" / "images", None) == ""


def test_parts_of_the_data_are_folders_too(made):
    root, with_knobs = made
    photos = root / "project" / "photos"
    run = with_knobs(data_dir=str(photos))
    assert learned_from(run, photos / "train", None) == "train"
    assert learned_from(run, photos / "test", None) == ""
    run = with_knobs(data=str(photos / "train"))
    assert learned_from(run, photos, None) == learned_from(run, photos, "train") == "train"
    assert learned_from(run, photos, "test") == ""


def test_a_run_that_was_moved_has_only_the_name_to_go_by(made):
    root, with_knobs = made
    run = with_knobs(data="/gone/photos")
    assert learned_from(run, root / "elsewhere" / "photos", "train+test") == "train"
    assert learned_from(run, root / "elsewhere" / "photos", "test") == ""
    assert learned_from(run, root / "elsewhere" / "images", None) == ""


def test_nothing_is_known_of_other_models(made):
    root, with_knobs = made
    assert learned_from(with_knobs(epochs=3), root / "elsewhere" / "photos", None) == ""
    assert learned_from(root / "project", root / "elsewhere" / "photos", None) == ""


def test_learned_images_are_counted_by_their_bytes_wherever_they_lie(made):
    root, with_knobs = made
    photos = root / "boxes"
    tiny_data.yolo(photos, {f"{i}": "0 0.5 0.5 0.2 0.2" for i in range(10)})
    for i, file in enumerate(sorted(photos.rglob("*.png"))):
        tiny_data.picture(file, (40 + i, 60))  # no two alike
    copy, other = root / "copy", root / "other"
    shutil.copytree(photos, copy)
    shutil.copytree(photos, other)
    for i, file in enumerate(sorted(other.rglob("*.png"))):
        tiny_data.picture(file, (80 + i, 60))
    run = with_knobs(data=str(photos), seed=3)
    for data, learned in ((photos, 8), (copy, 8), (other, 0)):  # two of ten are held back to choose the epoch
        assert learned_images(run, "detect", open_dataset(data)) == learned
    after = root / "after"  # a run that went on from it, with other photos
    after.mkdir()
    (after / "knobs.json").write_text(json.dumps({"data": str(other), "start": str(run), "seed": 3}))
    assert learned_images(after, "detect", open_dataset(photos)) == 8
    assert tells_its_data(after) and not tells_its_data(root)
    assert learned_images(with_knobs(data="/gone"), "detect", open_dataset(copy)) == 0
    assert learned_images(with_knobs(data_dir=str(photos)), "detect", open_dataset(copy)) == 0
    assert learned_images(root, "detect", open_dataset(copy)) == 0
    # Of a relative path, what lies in the working folder under that name need not be what was meant.
    shutil.copytree(other, root / "elsewhere" / "set")
    shutil.copytree(photos, root / "project" / "set")
    assert learned_images(with_knobs(data="set", seed=3), "detect", open_dataset(copy)) == 8


def test_annotations_of_other_images_are_not_read(made, monkeypatch):
    root, with_knobs = made
    photos, other = root / "boxes", root / "other"
    for folder, height in ((photos, 40), (other, 80)):
        tiny_data.yolo(folder, {f"{i}": "0 0.5 0.5 0.2 0.2" for i in range(10)})
        for i, file in enumerate(sorted(folder.rglob("*.png"))):
            tiny_data.picture(file, (height + i, 60))
    asked = []
    monkeypatch.setattr("visionkit.recipes.shared.learned_part", lambda *given, **_: asked.append(given))
    monkeypatch.setattr("visionkit.next_photos.find.without_copies", lambda files, _: files[3:])
    run, new = with_knobs(data=str(photos), seed=3), open_dataset(other)
    assert learned_images(run, "detect", new) == 0 and not asked
    shutil.copy(next(other.rglob("*.png")), photos / "images" / "again.png")
    assert learned_images(run, "detect", new) == 3 and len(asked) == 1
    assert learned_images(run, "detect", open_dataset(photos)) == 3 and len(asked) == 2  # the same folder
    (photos / "data.yaml").write_text("path: ../other\nnames: [a]\ntrain: images\n")
    assert learned_images(with_knobs(data=str(photos / "data.yaml")), "detect", new) == 3 and len(asked) == 3


def test_names_of_parts_tell_without_reading_that_others_were_learned_from(made):
    root, with_knobs = made
    photos = root / "boxes"
    parts = ("train", "val", "test")
    tiny_data.yolo(photos, {f"{part}/{part}{i}": "0 0.5 0.5 0.2 0.2" for part in parts for i in range(4)})

    def apart(split, data=photos, **knobs):
        return is_another_part(with_knobs(data=str(photos), **knobs), data, split, "detect")

    assert apart("test") and apart("val+test") and apart("test", learn_from="train+val")
    assert not apart("train") and not apart("train+test") and not apart(None) and not apart("val", learn_from="val")
    shutil.copytree(photos, root / "copy")
    assert not apart("test", data=root / "copy")  # which may be anything
    for kind in ("images", "labels"):
        shutil.move(photos / kind / "train", photos / kind / "trainval")
    assert apart("test") and not apart("val")  # which is a half of trainval
    assert not is_another_part(root, photos, "test", "detect")


class Told:
    """A classifier that opens from any run."""

    task, class_names, runtime = "classify", ["cat", "dog"], "none"

    def look(self, *_):
        return self

    def __call__(self, dataset, score=None):
        for record in dataset.records:
            yield vk.Classification(id=record.id, image_size=record.image_size, scores=np.float32([0.6, 0.4]))


def test_evaluate_warns_of_learned_images_and_reads_nothing_for_another_part(made, monkeypatch, capsys):
    root, with_knobs = made
    animals = root / "animals"
    for i, part in enumerate(("train", "train", "val", "test")):
        for k, name in enumerate(Told.class_names):
            tiny_data.picture(animals / part / name / f"{i}.png", (40 + 10 * i, 60 + k))  # no two alike
    run = with_knobs(data=str(animals))
    (run / "model.keras").touch()
    monkeypatch.setattr("visionkit.open_model.open_predictor", lambda *_, **__: Told())
    assert main(["evaluate", str(run), str(animals), "--curves", str(run / "knobs.json")]) == 1
    assert "knobs.json: is a file; name a folder" in capsys.readouterr().err
    assert main(["evaluate", str(run), str(animals), "--split", "train+test"]) == 0
    assert f"warning: {run} has learned from 4 of these images, so the scores are better" in capsys.readouterr().err
    after = root / "after"
    after.mkdir()
    (after / "model.keras").touch()
    (after / "knobs.json").write_text(json.dumps({"data": str(animals), "learn_from": "val", "start": str(run)}))
    assert main(["evaluate", str(after), str(animals), "--split", "train"]) == 0
    assert f"warning: {after} has learned from 4 of these images" in capsys.readouterr().err
    monkeypatch.delattr("visionkit.recipes.shared.learned_part")
    assert main(["evaluate", str(run), str(animals), "--split", "test"]) == 0
    assert "warning" not in capsys.readouterr().err

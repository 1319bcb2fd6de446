"""Whether a run has learned from a data set: by the path in its knobs, and by the name if the run was moved."""

import json

import pytest

from visionkit.cli.learned import learned_from


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

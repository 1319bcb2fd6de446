"""The layouts in which people have their data: read right, or refused by name; never read wrong."""

from types import SimpleNamespace

import pytest
from support import layouts, tiny_data

from visionkit.cli import main
from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.repair import Repairs
from visionkit.evaluate.scores import evaluate
from visionkit.types import DataError, Sample


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return layouts.source(tmp_path_factory.mktemp("source"))


def objects(data):
    labels = [label for record in data.records for label in record.labels.tolist()]
    return {name: labels.count(i) for i, name in enumerate(data.class_names)}


def boxes(data):
    """File name -> its boxes as (class, x1, y1, x2, y2), to a hundredth of a pixel."""
    return {
        record.file.name: sorted(
            (data.class_names[k], *(round(v, 1) for v in box))
            for k, box in zip(record.labels, record.boxes.tolist(), strict=True)
        )
        for record in data.records
    }


@pytest.mark.parametrize("layout", layouts.READ)
def test_every_layout_gives_the_same_images_objects_and_splits(source, layout, tmp_path):
    write, has_splits = layouts.READ[layout]
    write(source, root := tmp_path / layout)
    data = open_dataset(root, task="detect")
    if layouts.BCCD.is_dir():
        assert (len(data), objects(data)) == (24, {"Platelets": 26, "RBC": 382, "WBC": 25})
    expected = {p.name: p.sample for p in source.photos}
    found = boxes(data)
    assert found.keys() == expected.keys()
    for name, sample in expected.items():
        true = sorted((source.class_names[k], *b) for k, b in zip(sample.labels, sample.boxes.tolist(), strict=True))
        assert [row[0] for row in found[name]] == [row[0] for row in true]
        assert [v for row in found[name] for v in row[1:]] == pytest.approx(
            [v for row in true for v in row[1:]], abs=0.06
        )
    assert splits(root) == (["train", "val", "test"] if has_splits else [])
    for split in splits(root):
        own = {"val": "valid"}.get(split, split)
        assert set(boxes(open_dataset(root, split))) == {p.name for p in source.of(own)}
        assert objects(open_dataset(root, split, "detect")) == source.counts(own)


@pytest.mark.parametrize("layout", layouts.REFUSED)
def test_what_cannot_be_read_is_refused_by_name(source, layout, tmp_path, capsys):
    write, expected = layouts.REFUSED[layout]
    write(source, tmp_path / layout)
    assert main(["doctor", str(tmp_path / layout)]) == 1
    out = capsys.readouterr()
    assert expected in out.err and out.err.count("\n") == 1 and not out.out
    assert "no data set recognised; found " in out.err


def test_photographs_of_two_days_with_foreign_labels_are_no_classes(source, tmp_path):
    layouts.kitti(source, tmp_path)
    photographs = sorted((tmp_path / "training" / "image_2").iterdir())
    for i, photograph in enumerate(photographs):
        folder = tmp_path / ("monday", "tuesday")[i % 2]
        folder.mkdir(exist_ok=True)
        label = tmp_path / "training" / "label_2" / f"{photograph.stem}.txt"
        for file in (photograph, label):
            file.rename(folder / file.name)
    with pytest.raises(DataError, match="look like KITTI"):
        open_dataset(tmp_path)


def test_polygons_of_yolo_are_masks(source, tmp_path):
    layouts.yolo_polygons(source, tmp_path)
    repairs = Repairs("yolo", collect=True)
    data = open_dataset(tmp_path, "test", "instance", repairs=repairs)
    sample = data[0]
    x1, y1, x2, y2 = (round(v) for v in sample.boxes[0].tolist())
    assert sample.masks.shape == (len(sample.boxes), *sample.image_size)
    assert sample.masks[0].sum() == sample.masks[0, y1:y2, x1:x2].sum() == (x2 - x1) * (y2 - y1)
    assert "every polygon has four points: perhaps oriented boxes" in data.source
    assert [finding.kind for finding in repairs.findings] == ["four points"]
    assert open_dataset(tmp_path, "test", "detect")[0].masks is None


def test_a_triangle_among_the_polygons_ends_the_doubt_and_a_box_the_masks(tmp_path):
    triangle = "0 0.25 0.2 0.75 0.2 0.25 0.8"
    root = tiny_data.yolo(tmp_path, {"a": triangle, "b": "1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"})
    data = open_dataset(root, task="instance")
    assert data.source == "YOLO txt, split all, boxes and masks"
    assert abs(int(data[0].masks.sum()) - 20 * 18 / 2) < 20 and data[0].boxes.tolist() == [[10, 6, 30, 24]]
    tiny_data.text(root / "labels" / "b.txt", "1 0.5 0.5 0.2 0.2")
    assert open_dataset(root).source.endswith("boxes (1 of 2 lines are boxes, not polygons)")


@pytest.mark.parametrize("layout", ["roboflow_yolo", "ultralytics_lists"])
def test_data_yaml_may_be_given_as_the_data(source, layout, tmp_path):
    layouts.READ[layout][0](source, tmp_path / "data")
    (file,) = (tmp_path / "data").glob("*.yaml")
    assert splits(file) == ["train", "val", "test"]
    assert objects(open_dataset(file, "val")) == source.counts("valid")
    elsewhere = tiny_data.text(tmp_path / "my.yaml", file.read_text().replace("path: .\n", "") + "\npath: data\n")
    assert objects(open_dataset(elsewhere)) == source.counts()
    tiny_data.text(file, "train: nowhere/images\nnames: [a]\n")
    with pytest.raises(DataError, match=r"yaml: train: 'nowhere/images' is no folder or list of images in"):
        open_dataset(file)


def test_a_listed_image_that_is_missing_or_listed_twice_is_named(source, tmp_path):
    layouts.cvat_yolo(source, tmp_path)
    lists = tmp_path / "train.txt"
    lines = lists.read_text()
    tiny_data.text(lists, lines + "data/obj_train_data/none.jpg\n")
    with pytest.raises(DataError, match=r"train\.txt:\d+: there is no image 'data/obj_train_data/none\.jpg'"):
        open_dataset(tmp_path)
    tiny_data.text(lists, lines + lines.split("\n")[0])
    with pytest.raises(DataError, match=r"was already listed in line 1"):
        open_dataset(tmp_path)


def test_an_image_of_coco_is_found_by_base_name_only_if_one_has_it(source, tmp_path, caplog):
    layouts.label_studio_coco(source, tmp_path)
    open_dataset(tmp_path)
    assert f"{len(source.photos)} images of {tmp_path / 'result.json'} found by base name" in caplog.text
    name = source.photos[0].name
    tiny_data.picture(tmp_path / "copies" / name)
    with pytest.raises(DataError, match=rf"'/data/upload/7/{name}' is not the name of a file inside"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["roboflow_voc", "roboflow_darknet"])
def test_a_split_without_annotations_is_named(source, layout, tmp_path):
    layouts.READ[layout][0](source, tmp_path)
    for suffix in ("xml", "txt"):
        for file in (tmp_path / "valid").glob(f"*.{suffix}"):
            file.unlink()
    with pytest.raises(DataError, match=r"valid(: its annotations .*do not exist| has 4 images but no labels)"):
        open_dataset(tmp_path)


def test_what_is_no_folder_of_data_has_its_own_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    picture = tiny_data.picture(tmp_path / "one.png")
    archive, notes = tiny_data.text(tmp_path / "data.zip", ""), tiny_data.text(tmp_path / "notes.md", "")
    sentences = {
        tmp_path / "empty": "an empty folder; expected labelled images: Annotations",
        picture: "a single image is not a data set; give the folder of the labelled images",
        archive: "an archive; unpack it and give the folder",
        notes: "a file; give the folder that holds the data set",
        tmp_path / "nowhere": "no such folder",
    }
    for path, sentence in sentences.items():
        with pytest.raises(DataError, match=f"{path}: {sentence}"):
            open_dataset(path)


def test_the_doctor_says_why_nothing_can_be_used(tmp_path, capsys):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        tiny_data.text(tmp_path / "broken" / name, "not a picture")
    outside = tiny_data.picture(tmp_path / "outside.png")
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / "links" / name).parent.mkdir(parents=True)
        (tmp_path / "links" / name).symlink_to(outside)
    assert main(["doctor", str(tmp_path / "broken")]) == 1
    assert "all 3 images are broken; the first: " in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "links")]) == 1
    assert "all 2 images are links or paths that lead out of the data set; the first: " in capsys.readouterr().err


def test_values_without_names_offer_the_names_of_the_model_that_fits():
    maps = Dataset([Sample(id="1", image_size=(2, 2))], ["0", "2"], load_image, "maps")
    text = "maps: the values 0, 2 of the maps have no names; name them with --classes FILE"
    with pytest.raises(DataError, match=rf"^{text}, a file with a line for each value from 0 on; .* sky, sea$"):
        evaluate(SimpleNamespace(task="segment", class_names=["sky", "sea"]), maps)
    expected = rf"^{text}; if .* model's 3 classes in its order: printf '%s\\n' sky 'old wall' sea > FILE$"
    with pytest.raises(DataError, match=expected):
        evaluate(SimpleNamespace(task="segment", class_names=["sky", "old wall", "sea"]), maps)

"""CSV tables: which columns are meant, and what is not certain."""

import pytest
from support import tiny_data

from visionkit.data.readers.tables import classes, csv_boxes, csv_classes, splits_of_boxes, splits_of_classes
from visionkit.data.recognise import describe, open_dataset
from visionkit.types import DataError

CORNERS = "filename,class,xmin,ymin,xmax,ymax\n"


def boxes(root, content, names=("a",)):
    return [sample.boxes.round(3).tolist() for sample in csv_boxes(tiny_data.table(root, content, names))]


@pytest.mark.parametrize(
    "content,expected",
    [
        (CORNERS + "a.png,cat,2,3,7,7\n", [2, 3, 7, 7]),
        (CORNERS + "a.png,cat,0.1,0.1,0.5,1\n", [4, 3, 20, 30]),
        ("image_id;label;x;y;width;height\na;cat;2;3;5;4\n", [2, 3, 7, 7]),
        ("path\tcategory\tcx\tcy\tw\th\n/somewhere/a.png\tcat\t.5\t.5\t.5\t.2\n", [10, 12, 30, 18]),
        ('Image Path, Class Name, X1, Y1, X2, Y2\n"a.png","cat",2,3,7,7\n', [2, 3, 7, 7]),
        ("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,cat,2,3,7,7\n", [2, 3, 7, 7]),
        ("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,5,4,cat,2,3,7,7\n", [2, 3, 7, 7]),  # of the box
        ("filename,label,class_id,xmin,ymin,width,height\na.png,cat,7,2,3,5,4\n", [2, 3, 7, 7]),
    ],
)
def test_columns_are_known_by_their_usual_names(tmp_path, content, expected):
    assert boxes(tmp_path, content) == [[expected]]
    assert describe(tmp_path) == f"CSV of boxes in {tmp_path}, splits: none"


@pytest.mark.parametrize(
    "content,message",
    [
        (CORNERS + "a.png,cat,0,0,1,1\n", "labels.csv: pixels or fractions. All numbers of its boxes are 0 or 1"),
        (CORNERS + "a.png,cat,1,1,2,2\n", "labels.csv:2: pixels or fractions. All numbers of the table are 2 or less"),
        (
            CORNERS + "a.png,cat,2,3,7,7\na.png,cat,.1,.2,.3,.4\n",
            "csv:3: looks like fractions, but .*csv:2 like pixels",
        ),
        (CORNERS + "a.png,cat,2,3,7\n", "labels.csv:2: expected 6 columns, found 5"),
        (CORNERS + "a.png,cat,2,3,,7\n", "labels.csv:2: box: expected a number, found ''"),
        (CORNERS + "b.png,cat,2,3,7,7\n", "labels.csv:2: there is no image 'b.png' in"),
        (CORNERS + "../a.png,cat,2,3,7,7\n", None),  # found by its base name
        (CORNERS + "/etc/passwd,cat,2,3,7,7\n", "'/etc/passwd' is not the name of a file inside"),
        (CORNERS + 'a.png,"cat,2,3,7,7\n', "expected 6 columns, found 2"),
        ("filename,class,label,x1,y1,x2,y2\na.png,a,b,2,3,7,7\n", "which columns are meant, class or label. Take the"),
        (
            "filename,class,x1,y1,x2,y2,left,top,right,bottom\na.png,a,2,3,7,7,2,3,7,7\n",
            "x1 y1 x2 y2 or left top right",
        ),
        (
            "filename,class,x,y,width,height\na.png,cat,30,15,12,4\n",
            "1 boxes leave their images unless x and y are their",
        ),
        (CORNERS.replace(",", ";") + "a.png;cat;2,5;3;7;7\n", "csv:2: box: '2,5' has a decimal comma"),
        (
            'image,label\na.png,"[{""x"": 1}]"\n',
            "csv:2: the class is JSON, .* as in Label Studio's CSV, which is not read; export it",
        ),
        (
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,30,40,cat,2,3,7,7\n",
            "says height, width .40.0, 30.0",
        ),
    ],
)
def test_what_is_not_certain_is_refused_with_its_line(tmp_path, content, message):
    if message is None:
        assert boxes(tmp_path, content) == [[[2, 3, 7, 7]]]
        return
    with pytest.raises(DataError, match=message):
        open_dataset(tiny_data.table(tmp_path, content))


def test_small_numbers_in_large_images_may_be_percent(tmp_path):
    rows = "".join(f"a.png,cat,{10 * i},5,{10 * i + 9},60\n" for i in range(1, 4))
    root = tiny_data.table(tmp_path, CORNERS + rows)
    assert len(open_dataset(root)) == 1  # 40 x 30 pixels: no percent
    tiny_data.picture(root / "a.png", (200, 300))
    with pytest.raises(DataError, match=r"labels.csv: pixels or percent\? All 3 boxes end at 100 or below, but the im"):
        open_dataset(root)


def test_the_separator_line_of_excel_is_skipped(tmp_path):
    assert boxes(tmp_path, "sep=;\n" + (CORNERS + "a.png,cat,2,3,7,7\n").replace(",", ";")) == [[[2, 3, 7, 7]]]


def test_a_row_without_numbers_is_an_image_without_objects(tmp_path):
    assert boxes(tmp_path, CORNERS + "a.png,cat,2,3,7,7\nb.png,,,,,\n", "ab") == [[[2, 3, 7, 7]], []]


def test_classes_are_read_only_if_the_table_names_images(tmp_path):
    data = csv_classes(tiny_data.table(tmp_path, "id,filename,label\n1,a,dog\n2,b,cat\n", "ab"))
    assert data.class_names == ["cat", "dog"] and [r.label for r in data.records] == [1, 0]
    for name in ("ant", "bee"):
        tiny_data.picture(tmp_path / "folders" / name / f"{name}.png")
    tiny_data.text(tmp_path / "folders" / "info.csv", "name,class\nother,1\n")
    tiny_data.text(tmp_path / "folders" / "more.csv", "file,class\nother.png,1\n")
    assert classes(tmp_path / "folders") == [] and open_dataset(tmp_path / "folders").class_names == ["ant", "bee"]
    for name in ("ant", "bee"):
        tiny_data.picture(tmp_path / "folders" / name / "1.png")
    tiny_data.text(tmp_path / "folders" / "labels.csv", "file,class\n1.png,ant\n1.png,bee\n")  # which 1.png?
    (tmp_path / "folders" / "old.csv").write_bytes(b"file,class\ncaf\xe9.png,ant\n")
    assert open_dataset(tmp_path / "folders").source == "class folders, split all"
    tiny_data.table(tmp_path, "filename,label\na.png,dog\na.png,cat\n")
    with pytest.raises(DataError, match=r"labels\.csv:3: .*a\.png was already described in .*labels\.csv:2"):
        csv_classes(tmp_path)


def test_splits_are_a_column_or_the_names_of_tables_or_folders(tmp_path):
    tiny_data.table(tmp_path / "a", "file,class,Set\na.png,x,TRAIN\nb.png,y,validation\n", "ab")
    assert splits_of_classes(tmp_path / "a") == ["TRAIN", "validation"]
    assert [r.id for r in csv_classes(tmp_path / "a", "val").records] == ["b"]
    for split, name in (("train", "a"), ("test", "b")):
        tiny_data.table(tmp_path / "b", f"{CORNERS}{name}.png,cat,2,3,7,7\n", name, f"{split}_labels.csv")
    assert splits_of_boxes(tmp_path / "b") == ["test", "train"]
    assert [r.id for r in csv_boxes(tmp_path / "b", "train").records] == ["a"]


def test_images_elsewhere_are_found_by_base_name_and_counted_once(tmp_path, caplog):
    tiny_data.picture(tmp_path / "deep" / "er" / "a.png")
    tiny_data.text(tmp_path / "labels.csv", CORNERS + "C:\\me\\a.png,cat,2,3,7,7\n" * 3)
    assert len(csv_boxes(tmp_path)[0].boxes) == 3
    assert f"1 image of {tmp_path / 'labels.csv'} found by base name, since they are not where it says" in caplog.text

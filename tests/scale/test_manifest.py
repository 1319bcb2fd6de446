"""The manifest: what is listed, in which order, and in how much memory."""

import io
import tarfile
import tracemalloc

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from support.scale import draw_images

from visionkit import images
from visionkit.image_files import find_images
from visionkit.scale.content import Images
from visionkit.scale.manifest import Item, items_of, names_in, read_shard, whole_sources, write_manifest
from visionkit.types import DataError


def uris(*sources):
    return [item.uri for item in items_of([str(source) for source in sources])]


def test_a_folder_is_listed_as_find_images_does(tmp_path):
    for name in ("b.jpg", "a/z.PNG", "a.jpg", "a b/c.webp", ".hidden/x.jpg", ".x.jpg", "notes.txt", "ä/é.gif"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"")
    assert uris(tmp_path) == [str(file) for file in find_images(tmp_path)]
    assert len(uris(tmp_path)) == 5


def test_pictures_that_are_not_read_are_counted_in_a_warning(tmp_path, caplog):
    for name in ("a.jpg", "b.heic", "sub/c.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert uris(tmp_path) == [f"{tmp_path}/a.jpg"]
    assert caplog.messages == [
        f"{tmp_path}: 2 pictures left out, of a kind that is not read (b.heic): save as JPEG or PNG"
    ]


def test_a_list_names_paths_beside_it_and_uris(tmp_path):
    draw_images(tmp_path, 2)
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa/000.png\r\n\ns3://lot/x.jpg\n/no/such.jpg\nb/../b/001.png")
    listed = list(items_of([str(file)]))
    status = (tmp_path / "a" / "000.png").stat()
    assert listed[0] == Item(f"{tmp_path}/a/000.png", f"{status.st_size} {status.st_mtime_ns}", status.st_size)
    assert listed[1:3] == [Item("s3://lot/x.jpg", "", -1), Item("/no/such.jpg", "", -1)]
    assert [item.uri for item in listed[3:]] == [f"{tmp_path}/b/001.png"]


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"uri": ["s3://lot/x.jpg", "s3://lot/x.csv"], "size": [7, 8], "etag": ["t", "u"]}, ("t", 7)),
        ({"bucket": ["lot", "lot"], "key": ["x.jpg", "x/"], "e_tag": ["t", "u"]}, ("t", -1)),
        ({"bucket": ["lot"], "key": ["x.jpg"], "size": [7], "last_modified_date": ["2026-01-01"]}, ("7 2026-01-01", 7)),
    ],
)
def test_an_inventory_is_read_by_its_columns(tmp_path, columns, first):
    parquet.write_table(pyarrow.table(columns), tmp_path / "inventory.parquet")
    assert list(items_of([str(tmp_path / "inventory.parquet")])) == [Item("s3://lot/x.jpg", *first)]


def test_what_cannot_be_listed_is_named(tmp_path):
    parquet.write_table(pyarrow.table({"name": ["x.jpg"]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "film.mp4").write_bytes(b"")
    for source, message in {
        "other.parquet": "expected a column uri, bucket and key, or one column of bytes; found name",
        "broken.parquet": "not a Parquet file",
        "film.mp4": "expected a folder of images, an image, a .txt list, a .tar or a .parquet file",
        "gone": "expected a folder of images, an image, a .txt list, a .tar or a .parquet file",
        "gone.txt": "gone.txt: no such file",
    }.items():
        with pytest.raises(DataError, match=message):
            uris(tmp_path / source)


def test_sources_that_overlap_are_refused(tmp_path):
    with pytest.raises(DataError, match="s3://lot/a/b lies in s3://lot/a: its images would be listed twice"):
        whole_sources(["s3://lot/a/b", "s3://lot/a"])
    with pytest.raises(DataError, match="its images would be listed twice"):
        whole_sources([str(tmp_path), str(tmp_path)])
    assert whole_sources(["s3://lot/a", "s3://lot/ab"]) == ["s3://lot/a", "s3://lot/ab"]


def test_shards_are_named_by_number_and_content(tmp_path):
    items = [Item(f"s3://lot/{i}.jpg", f"{i}", i) for i in range(10)]
    manifest = write_manifest(items, str(tmp_path / "one"), 4)
    assert (manifest.images, manifest.size, len(manifest.names)) == (10, 45, 3)
    assert names_in(str(tmp_path / "one")) == manifest.names
    assert [item for name in manifest.names for item in read_shard(str(tmp_path / "one"), name)] == items
    items[5] = items[5]._replace(stamp="new")
    again = write_manifest(items, str(tmp_path / "two"), 4)
    assert [old == new for old, new in zip(manifest.names, again.names, strict=True)] == [True, False, True]
    assert manifest.digest != again.digest


def test_no_images_are_an_error(tmp_path):
    with pytest.raises(DataError, match="no images were found"):
        write_manifest(items_of([str(tmp_path)]), str(tmp_path / "out"), 4)


def test_a_list_of_any_length_is_written_in_the_memory_of_a_shard(tmp_path):
    """Both lists are longer than what is read of them at a time."""
    peaks = []
    for count in (40_000, 120_000):
        file = tmp_path / f"{count}.txt"
        file.write_text("".join(f"s3://lot/photos/{i:09d}.jpg\n" for i in range(count)))
        tracemalloc.start()
        manifest = write_manifest(items_of([str(file)]), str(tmp_path / f"{count}"), 1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert manifest.images == count
    assert peaks[1] < peaks[0] + 3_000_000  # bytes; the other items, if they were kept, would take more than 10 MB


def tar_of(file, members, mode="w"):
    with tarfile.open(file, mode) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def pngs(folder, count):
    return {file.name: file.read_bytes() for file in draw_images(folder, count)}


def test_images_in_tar_files_are_listed_and_read(tmp_path):
    members = pngs(tmp_path / "drawn", 5)
    (tmp_path / "tars").mkdir()
    long = "x" * 120 + "/long.png"  # takes a header of its own
    tar_of(tmp_path / "tars" / "b.tar", {"000.cls": b"1", **members, ".hidden/x.png": b"", long: members["000.png"]})
    tar_of(tmp_path / "tars" / "a.tar", {"c#d?.png": members["001.png"]})
    for source in (tmp_path / "tars" / "*.tar", f"file://{tmp_path}/tars/*.tar"):
        items = list(items_of([str(source)]))
        assert [item.uri.rpartition("/tars/")[2] for item in items] == [
            "a.tar#c#d?.png",
            *(f"b.tar#{name}" for name in (*members, long)),
        ]
        read = [sample.image for sample in Images(items)]
        expected = [images.read_image(members[name]) for name in ("001.png", *members, "000.png")]
        assert all(np.array_equal(*pair) for pair in zip(read, expected, strict=True))


def test_a_tar_file_that_was_cut_or_changed_is_named(tmp_path):
    members = pngs(tmp_path / "drawn", 2)
    file = tmp_path / "a.tar"
    tar_of(file, members)
    items = list(items_of([str(file)]))
    whole = file.read_bytes()
    file.write_bytes(whole[: items[1].offset + 10])
    with pytest.raises(DataError, match=r"a.tar#001.png: the tar file ends within it; it has changed"):
        Images(items)[1]
    file.write_bytes(b"x" * len(whole))
    with pytest.raises(DataError, match=r"a.tar#000.png: is not an image that can be read"):
        Images(items)[0]
    with pytest.raises(DataError, match=r"a.tar: not an uncompressed tar file, or a broken one"):
        uris(file)
    tar_of(file, members, "w:gz")
    with pytest.raises(DataError, match=r"a.tar: not an uncompressed tar file, or a broken one"):
        uris(file)
    with pytest.raises(DataError, match=r"drawn/\*.tar: there are no such files"):
        uris(tmp_path / "drawn" / "*.tar")


@pytest.mark.parametrize("nested", [False, True])
def test_images_in_a_column_of_a_parquet_file_are_listed_and_read(tmp_path, nested):
    """Plain bytes, and the form in which Hugging Face writes them."""
    contents = list(pngs(tmp_path / "drawn", 7).values())
    column = [{"bytes": content, "path": "x.png"} for content in contents] if nested else contents
    file = tmp_path / "images.parquet"
    parquet.write_table(pyarrow.table({"label": range(7), "image": column}), file, row_group_size=2)
    items = list(items_of([str(file)]))
    assert [item.uri for item in items] == [f"{file}#{row}" for row in range(7)]
    name = write_manifest(items[3:], str(tmp_path / "manifest"), 4).names[0]
    listed = read_shard(str(tmp_path / "manifest"), name)
    assert listed == items[3:]
    pictures = Images(listed)
    for index in (3, 0, 1, 2):  # decoding threads may ask in another order
        assert np.array_equal(pictures[index].image, images.read_image(contents[index + 3]))


def test_a_row_without_an_image_is_named(tmp_path):
    file = tmp_path / "images.parquet"
    parquet.write_table(pyarrow.table({"image": [None, b"no image"]}), file)
    pictures = Images([*items_of([str(file)]), Item(f"{file}#2", "", -1, str(file), 2)])
    for index, message in enumerate(("#0: the row is empty", "#1: is not an image", "#2: no such row")):
        with pytest.raises(DataError, match=f"images.parquet{message}"):
            pictures[index]
    parquet.write_table(pyarrow.table({"left": [b""], "right": [b""]}), file)
    with pytest.raises(DataError, match="or one column of bytes; found left, right"):
        uris(file)

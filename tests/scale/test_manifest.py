"""The manifest: what is listed, in which order, and in how much memory."""

import tracemalloc

import pytest
from support.scale import draw_images

from visionkit.image_files import find_images
from visionkit.scale.manifest import Item, items_of, names_in, read_shard, whole_sources, write_manifest
from visionkit.types import DataError

pyarrow = pytest.importorskip("pyarrow", reason="the extra scale is not installed")
parquet = pytest.importorskip("pyarrow.parquet")


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
        "other.parquet": "expected a column uri, or bucket and key; found name",
        "broken.parquet": "not a Parquet file",
        "film.mp4": "expected a folder of images, an image, a .txt list or a .parquet inventory",
        "gone": "expected a folder of images, an image, a .txt list or a .parquet inventory",
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

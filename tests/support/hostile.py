"""Small files that ask for much memory, and the command line that meets each of them.

`python hostile.py FOLDER` writes them, gives each to `visionkit`, all in this one process, and prints the table of
docs/security.md as JSON: name -> [bytes on the disk, peak bytes in memory, exit code, what was said].
"""

import ctypes
import gc
import io
import json
import math
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from support.command_line import visionkit

MOST = 9459  # pixels: the side of the largest square image that is read


def png(file, width, height, bits, kind, rows=None):
    """A black PNG, written without ever holding it; with fewer `rows` than its height it is cut short."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[kind]
    row = bytes(1 + -(-width * channels * bits // 8))
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">2I5B", width, height, bits, kind, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    if kind == 3:
        chunks.insert(1, (b"PLTE", bytes(range(9))))
    with file.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        for name, content in chunks:
            stream.write(
                struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
            )
    return file


def progressive_jpeg(file, side):
    """A small JPEG whose header claims `side` x `side` pixels, for all of which libjpeg keeps coefficients."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG", progressive=True)
    data = bytearray(stream.getvalue())
    start = data.index(b"\xff\xc2") + 5
    data[start : start + 4] = struct.pack(">2H", side, side)
    file.write_bytes(data)
    return file


def float_tiff(file, side):
    """A TIFF of floats in one deflated strip."""
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(4 * side)) for _ in range(side)) + packer.flush()
    tags = [(256, side), (257, side), (258, 32), (259, 8), (262, 1), (273, 0), (277, 1), (278, side)]
    tags += [(279, len(data)), (339, 3)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    file.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + data)
    return file


def paint(image):
    return ["stylize", image.name, image.name, "--out", f"out-{image.stem}.png"]


def coco(folder, segmentation, size=(100, 100), count=1):
    """A COCO data set of one image and `count` equal objects."""
    width, height = size
    (folder / "images").mkdir(parents=True)
    png(folder / "images" / "a.png", width, height, 8, 0)
    one = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 90, 90], "segmentation": segmentation, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    content = {"images": [image], "categories": [{"id": 1, "name": "x"}], "annotations": [one] * count}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return ["finetune", folder.name, "--out", f"out-{folder.name}"]


def far_polygon(folder):
    zigzag = [value for _ in range(100_000) for value in (-9_000, 0, 18_000, 1)]
    return coco(folder / "polygon", [zigzag], (9_000, 9_000))


def many_masks(folder):
    return coco(folder / "masks", [[0, 0, 90, 0, 90, 90]], (MOST, MOST), 1_000)


def data_yaml(folder):
    root = folder / "yaml"
    root.mkdir()
    (root / "data.yaml").write_text("names: [" + "a," * 2_400_000 + "]")
    return ["finetune", root.name, "--out", "out-yaml"]


def checkpoint(file, body):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + body + b".")
        archive.writestr("archive/data/0", bytes(24))
    return ["convert_weights", file.name, "--arch", "resnet18", "--out", f"out-{file.stem}.keras"]


def copied_containers(folder):
    """One list of 100,000 pairs, and 400,000 times an OrderedDict of it."""
    pairs = b"](" + b"".join(b"J" + struct.pack("<i", key) + b"N\x86" for key in range(100_000)) + b"eq\x00"
    one = b"h\x01h\x00\x85R"
    return checkpoint(folder / "copied.pth", b"ccollections\nOrderedDict\nq\x01(" + pairs + one * 400_000 + b"t")


def many_sets(folder):
    return checkpoint(folder / "sets.pth", b"(" + b"\x8f" * 4_900_000 + b"t")


def npz_of_zeros(folder):
    root = folder / "npz"
    root.mkdir()
    shapes = {"x_train": (1_000_000, 28, 28), "y_train": (1_000_000,), "x_test": (1, 28, 28), "y_test": (1,)}
    with zipfile.ZipFile(root / "mnist.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
                size = math.prod(shape)
                for start in range(0, size, 2**20):
                    stream.write(bytes(min(2**20, size - start)))
    return ["finetune", root.name, "--out", "out-npz"]


def keras_file(folder, name, config, weights=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(folder / "model.keras") as model:
        good = model.read("model.weights.h5")
    with zipfile.ZipFile(folder / name, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", good if weights is None else weights)
    return ["classify", name, "model.keras", "--out", f"out-{name}"]


def config_of(folder):
    with zipfile.ZipFile(folder / "model.keras") as model:
        return model.read("config.json").decode()


def nested_config(folder):
    return keras_file(folder, "nested.keras", "[" * 2_000_000 + "]" * 2_000_000)


def large_layers(folder):
    return keras_file(folder, "layers.keras", config_of(folder).replace('"units": 4', '"units": 40000000'))


def large_images(folder):
    return keras_file(folder, "images.keras", config_of(folder).replace("[6, 6]", "[30000, 30000]"))


def zip_bomb(folder):
    return keras_file(folder, "bomb.keras", config_of(folder), bytes(400_000_000), zipfile.ZIP_DEFLATED)


HOSTILE = {
    "image of 1 x 5,000,000": lambda f: paint(png(f / "tall.png", 1, 5_000_000, 8, 2)),
    "image of 60,000 x 60,000": lambda f: paint(png(f / "bomb.png", 60_000, 60_000, 1, 0, rows=1000)),
    "progressive JPEG of 9,459 x 9,459": lambda f: paint(progressive_jpeg(f / "progressive.jpg", MOST)),
    "float TIFF of 9,459 x 9,459": lambda f: paint(float_tiff(f / "float.tiff", MOST)),
    "polygon with edges of 5 billion pixels": far_polygon,
    "1,000 masks of 9,459 x 9,459": many_masks,
    "data.yaml of 5 MB": data_yaml,
    ".npz data set that unpacks to 785 MB": npz_of_zeros,
    ".pth that copies a list 400,000 times": copied_containers,
    ".pth of 4.9 million sets": many_sets,
    ".keras with config.json nested 2 million deep": nested_config,
    ".keras with a layer of 40 million units": large_layers,
    ".keras for images of 30,000 x 30,000": large_images,
    ".keras that unpacks to 400 MB": zip_bomb,
}


def peak():
    """The most memory that this process has held since `reset`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def reset():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(folder, names):
    """name -> [bytes on the disk, peak bytes in memory, exit code, what was said]."""
    from support.tiny_classifier import recipe

    recipe().model.save(folder / "model.keras")
    table = {}
    for name in names:
        before = set(folder.rglob("*"))
        words = HOSTILE[name](folder)
        size = sum(f.stat().st_size for f in set(folder.rglob("*")) - before if f.is_file())
        reset()
        done = visionkit(words, folder)
        table[name] = [size, peak(), done.returncode, done.stderr + done.stdout]
    return table


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2:] or list(HOSTILE))))

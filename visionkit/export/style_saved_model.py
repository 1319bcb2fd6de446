"""A style network as a TensorFlow SavedModel: encoded image files in, PNG files out, proven in a fresh process.

`serving_default` takes `image_bytes`, string `[B]`, files of any mix of sizes up to `MAX_PIXELS` pixels that
`decode_graph` reads, and, of a network with K > 1 styles, `shares`, float32 `[B, K]`, each row summing to 1. It gives
`png`, string `[B]`. The names of the styles stand in `assets.extra/visionkit.json`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import visionkit
from visionkit.export.saved_model import write_functions
from visionkit.export.verify import ExportError
from visionkit.images import read_image
from visionkit.types import DataError

MAX_PIXELS = 4_000_000  # a picture is painted in one pass, some 800 bytes a pixel
METADATA = "assets.extra/visionkit.json"
TOLERANCE = 2  # grey levels: float sums in another order, rounded
# What a stranger would run: TensorFlow and numpy, nothing of visionkit.
_ALONE = """
import json, sys
from pathlib import Path
import numpy as np, tensorflow as tf
job = json.load(sys.stdin)
model = tf.saved_model.load(job["folder"])
paint = model.signatures["serving_default"]
for i, (file, shares) in enumerate(job["files"]):
    more = {"shares": tf.constant([shares], tf.float32)} if len(shares) > 1 else {}
    png = paint(image_bytes=tf.constant([Path(file).read_bytes()]), **more)["png"][0].numpy()
    Path(job["out"], f"{i}.png").write_bytes(png)
assert "visionkit" not in sys.modules, "the SavedModel was to run without visionkit"
"""


def save(model, folder: Path | str) -> None:
    """Writes a StyleNetwork.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
    """
    import keras
    import tensorflow as tf

    from visionkit.export.decode_graph import decode_image
    from visionkit.style.network import STRIDE

    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"a SavedModel is written on the TensorFlow backend, not on {keras.backend.backend()}")
    network, count = model.serving(), model.num_classes

    def paint(data, shares):
        image = decode_image(data)
        size = tf.shape(image)[:2]
        message = [
            f"image_bytes: expected 16 pixels a side or more, {MAX_PIXELS} in all or fewer; height, width:",
            size,
        ]
        good = (tf.reduce_min(size) >= 16) & (tf.reduce_prod(size) <= MAX_PIXELS)
        with tf.control_dependencies([tf.debugging.Assert(good, message)]):
            image = tf.cast(image, tf.float32)
        below, right = (-size[0]) % STRIDE, (-size[1]) % STRIDE
        image = tf.pad(image, [[0, below], [0, right], [0, 0]], mode="REFLECT")
        painted = network({"images": image[None], "shares": shares[None]}, training=False)[0]
        painted = tf.cast(tf.clip_by_value(tf.round(painted), 0.0, 255.0), tf.uint8)
        return tf.io.encode_png(painted[: size[0], : size[1]])

    def paint_all(image_bytes, shares):
        paired = (image_bytes, shares)
        out = tf.TensorSpec([], tf.string)
        return {"png": tf.map_fn(lambda one: paint(*one), paired, fn_output_signature=out, parallel_iterations=1)}

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    if count == 1:

        @tf.function(input_signature=[files])
        def serve(image_bytes):
            return paint_all(image_bytes, tf.ones([tf.shape(image_bytes)[0], 1]))
    else:

        @tf.function(input_signature=[files, tf.TensorSpec([None, count], tf.float32, name="shares")])
        def serve(image_bytes, shares):
            return paint_all(image_bytes, shares)

    write_functions({"serving_default": serve}, network, folder)
    file = Path(folder) / METADATA
    file.parent.mkdir(exist_ok=True)
    metadata = {"visionkit": visionkit.__version__, "model": type(model).__name__, "styles": list(model.class_names)}
    file.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def verify(model, folder: Path | str, files: Sequence[Path]) -> dict:
    """Paints files by the SavedModel in a fresh process and by the model here, each style in turn, and compares.

    Returns:
        {"pictures", "difference_maximum"} in grey levels, also written to `export_report.json`.

    Raises:
        ExportError: the process failed, or a picture differs by more than `TOLERANCE`.
    """
    from visionkit.style.stylizer import Stylizer

    names = list(model.class_names)
    shares = [np.eye(len(names), dtype=np.float32)[i % len(names)] for i in range(len(files))]
    stylizer, worst = Stylizer(model, whole=MAX_PIXELS), 0
    with tempfile.TemporaryDirectory() as out:
        listed = [(str(Path(file).absolute()), share.tolist()) for file, share in zip(files, shares, strict=True)]
        job = json.dumps({"folder": str(Path(folder).absolute()), "out": out, "files": listed})
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-E", "-P", "-c", _ALONE]  # nothing of PYTHONPATH or this folder within reach
        done = subprocess.run(command, input=job, capture_output=True, text=True, cwd=out, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise ExportError(f"{folder}: does not run in a fresh process: {lines[-1].strip()}")
        for i, (file, share) in enumerate(zip(files, shares, strict=True)):
            found, expected = read_image(Path(out) / f"{i}.png"), stylizer(read_image(file), share)
            if found.shape != expected.shape:
                raise ExportError(f"{file}: the export gives {found.shape}, the model {expected.shape}")
            worst = max(worst, int(np.abs(found.astype(np.int16) - expected).max()))
    report = {"pictures": len(files), "difference_maximum": worst, "tolerance": TOLERANCE}
    (Path(folder) / "export_report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if worst > TOLERANCE:
        raise ExportError(f"the export differs from the model by {worst} grey levels, more than {TOLERANCE}")
    return report


def export_style(model, folder: Path, files: Sequence[Path]) -> dict:
    """`save`, then `verify`; nothing appears at `folder`, which must be new, unless they agree."""
    if folder.exists():
        raise DataError(f"{folder}: must be new; name another folder or remove this one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        part = Path(temporary) / folder.name
        save(model, part)
        report = verify(model, part, files)
        part.rename(folder)
    return report

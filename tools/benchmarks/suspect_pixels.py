"""How well are wrong regions of class maps found? 5 % of the regions were given another class at random.

python tools/benchmarks/suspect_pixels.py DATA SPLIT [RESULTS.json]    class maps, such as CamVid's train

The predictions are out-of-fold ones of the simplest segmenter that there is: a softmax regression on the frozen levels
of EfficientNet-Lite0 at each eighth pixel, which learns from the wrong labels of the other half too. The halves are the
first and the second half of the images, since neighbours may be frames of one film. Counted is the share of the first
50 suspects that lie, with at least half of their pixels, in a planted region.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "benchmarks")]

from next_simulation import softmax_regression  # noqa: E402 -- found only now

from visionkit.data.recognise import open_dataset  # noqa: E402
from visionkit.open_model import open_predictor  # noqa: E402
from visionkit.suspects.pixels import compare, suspicious_regions  # noqa: E402
from visionkit.types import IGNORE  # noqa: E402

SHARE, SEEDS, FIRST = 0.05, 3, 50
AREA = 400  # pixels that a region must have to be given another class
DRAWN = 150  # pixels of each image that are learned from
FINER = 4  # predictions are enlarged by this before they are compared


def features_of(dataset):
    """float16 `[N, h, w, D]` at stride 8: levels 3 to 5 of the trunk, the place, and the maps `[N, H, W]`."""
    import keras

    backbone = open_predictor("efficientnet_lite0_imagenet").model.backbone
    height, width = dataset.records[0].image_size
    h, w = height // 8, width // 8
    images = keras.Input((h * 8, w * 8, 3))
    levels = backbone(images)
    joined = [keras.layers.Resizing(h, w)(levels[name]) for name in ("C3", "C4", "C5")]
    trunk = keras.Model(images, keras.layers.Concatenate()(joined))
    place = np.stack(np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij"), axis=-1)
    rows = np.empty((len(dataset), h, w, trunk.output_shape[-1] + 2), np.float16)  # at once: it is the largest array
    maps = np.empty((len(dataset), h * 8, w * 8), np.int32)
    for image, sample in enumerate(dataset):
        small = sample.image[: h * 8, : w * 8].astype(np.float32)
        said = np.asarray(trunk.predict_on_batch(small[None]))[0]
        rows[image] = np.concatenate([said, place], axis=-1)
        maps[image] = sample.segmentation[: h * 8, : w * 8]
    return rows, maps


def plant(maps, classes, seed):
    """(the maps with SHARE of their regions of another class, a mask of the planted pixels)."""
    rng = np.random.default_rng(seed)
    regions = []
    for image, segmentation in enumerate(maps):
        for k in np.unique(segmentation[segmentation != IGNORE]).tolist():
            _, parts, places, _ = cv2.connectedComponentsWithStats((segmentation == k).astype(np.uint8), connectivity=4)
            regions += [(image, k, parts == part) for part in range(1, len(places)) if places[part][4] >= AREA]
    wrong, planted = maps.copy(), np.zeros(maps.shape, bool)
    picked = rng.permutation(len(regions))[: round(SHARE * len(regions))]
    for number in picked.tolist():
        image, k, here = regions[number]
        wrong[image][here] = (k + rng.integers(1, classes)) % classes
        planted[image] |= here
    return wrong, planted, len(picked)


def out_of_fold(features, maps, classes, seed):
    """Probabilities `[h, w, K]` for each image, by a model that has learned from the other half."""
    rng = np.random.default_rng(seed)
    n, h, w, depth = features.shape
    small = np.stack([cv2.resize(each.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) for each in maps])
    half = np.arange(n) * 2 // n
    for k in (0, 1):
        rows, labels = [], []
        for image in np.flatnonzero(half != k).tolist():
            known = np.flatnonzero(small[image].ravel() != IGNORE)
            chosen = rng.choice(known, min(DRAWN, len(known)), replace=False)
            rows.append(features[image].reshape(-1, depth)[chosen].astype(np.float32))
            labels.append(small[image].ravel()[chosen])
        x = np.concatenate(rows)
        middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        scale = depth**-0.5  # as softmax_regression expects rows of about length 1
        model = softmax_regression((x - middle) / spread * scale, np.concatenate(labels), classes)
        for image in np.flatnonzero(half == k).tolist():
            flat = (features[image].reshape(-1, depth).astype(np.float32) - middle) / spread * scale
            yield image, model(flat).reshape(h, w, classes).astype(np.float32)


def main(data, split, out=None):
    dataset = open_dataset(Path(data), split, "segment")
    classes = len(dataset.class_names)
    features, maps = features_of(dataset)
    print(f"{len(maps)} images, {features.shape[-1]} features of a pixel", flush=True)
    shares = []
    for seed in range(SEEDS):
        given, planted, count = plant(maps, classes, seed)
        found, right = [], []
        for image, said in out_of_fold(features, given, classes, seed):
            fine = cv2.resize(said, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_LINEAR)
            found.append(compare(image, given[image], fine))
            truth = cv2.resize(maps[image].astype(np.uint8), fine.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            right.append((fine.argmax(axis=-1) == truth)[truth != IGNORE].mean())
        suspects = suspicious_regions(found)
        hits = [is_planted(suspect, given, planted) for suspect in suspects[:FIRST]]
        shares.append(float(np.mean(hits)))
        print(
            f"seed {seed}: {count} planted, {len(suspects)} suspects, {shares[-1]:.0%} of the first {FIRST} planted; "
            f"{np.mean(right):.1%} of the pixels right",
            flush=True,
        )
    print(f"mean {np.mean(shares):.0%}, {min(shares):.0%} to {max(shares):.0%}")
    if out:
        Path(out).write_text(json.dumps({"first": FIRST, "planted": shares}) + "\n")


def is_planted(suspect, given, planted):
    """Whether at least half of the pixels of the annotated class in a suspect's box were planted."""
    x1, y1, x2, y2 = suspect.box.round().astype(int).tolist()
    here = given[suspect.image][y1:y2, x1:x2] == suspect.label
    return bool(here.any() and planted[suspect.image][y1:y2, x1:x2][here].mean() >= 0.5)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:4])

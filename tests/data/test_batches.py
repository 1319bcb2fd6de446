import logging
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit.data.arrays import arrays
from visionkit.data.batches import batch_ids, batches, check_batch, steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.mix import Mixup
from visionkit.data.shapes import shape_maps, shapes
from visionkit.data.transforms import classification_train, detection_train, segmentation_train
from visionkit.types import DataError, Sample

SHAPES = shapes(10, (48, 64), seed=1, max_objects=4)
TRANSFORM = detection_train((32, 40))


def numbered(count):
    """Sample i is an image of the grey level i, of class i % 3."""
    records = [Sample(id=f"n{i}", image_size=(4, 6), label=i % 3) for i in range(count)]
    return Dataset(records, list("abc"), lambda r: replace(r, image=np.full((4, 6, 3), int(r.id[1:]), np.uint8)))


def as_it_is(sample, seed):
    return sample


def levels(feed):
    """Which samples of `numbered` each batch holds."""
    return [images[:, 0, 0, 0].tolist() for images, _ in feed]


def assert_equal(a, b):
    assert len(a) == len(b) > 0
    for (images_a, y_a), (images_b, y_b) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images_a, images_b)
        assert y_a.keys() == y_b.keys()
        for name in y_a:
            np.testing.assert_array_equal(y_a[name], y_b[name])


@settings(max_examples=25)
@given(
    st.integers(1, 25), st.integers(1, 9), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(0, 9), st.data()
)
def test_epochs_are_permutations_and_a_later_start_gives_the_tail(count, size, epochs, shuffle, drop, seed, data):
    dataset, options = numbered(count), {"shuffle": shuffle, "drop_remainder": drop}
    steps = steps_per_epoch(dataset, size, drop)
    call = {"task": "classify", "seed": seed, "epochs": epochs, **options}
    found = levels(batches(dataset, as_it_is, size, **call))
    assert len(found) == steps * epochs
    for epoch in range(epochs):
        mine = found[epoch * steps : (epoch + 1) * steps]
        flat = [i for batch in mine for i in batch]
        if not drop or count % size == 0:
            assert sorted(flat) == list(range(count))
        elif count > size:
            assert len(set(flat)) == len(flat) == count // size * size
        else:  # a small data set wraps around, as evenly as it can
            assert len(flat) == size and np.ptp(np.bincount(flat, minlength=count)) <= 1
        if not shuffle:
            assert flat == [i % count for i in range(len(flat))]
        for step, batch in enumerate(mine):
            assert [f"n{i}" for i in batch] == batch_ids(dataset, size, seed, epoch, step, **options)
    start = data.draw(st.integers(0, steps * epochs))
    assert levels(batches(dataset, as_it_is, size, start_step=start, **call)) == found[start:]


def test_epochs_and_seeds_have_their_own_order():
    first, second = (batches(numbered(30), as_it_is, 30, task="classify", epochs=2, seed=seed) for seed in (0, 1))
    orders = [*levels(first), *levels(second)]
    assert len({tuple(order) for order in orders}) == 4 and list(range(30)) not in orders


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    expected = list(batches(SHAPES, TRANSFORM, 3, task="instance", epochs=3))
    for threads in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        assert_equal(list(batches(SHAPES, TRANSFORM, 3, task="instance", epochs=3)), expected)
    tail = list(batches(SHAPES, TRANSFORM, 3, task="instance", epochs=3, start_step=4))
    assert_equal(tail, expected[4:])


def test_processes_give_the_same_bits_and_pass_errors_on():
    feed = batches(SHAPES, TRANSFORM, 3, epochs=2, workers=2)
    assert_equal(
        [(images.copy(), {k: v.copy() for k, v in y.items()}) for images, y in feed],
        list(batches(SHAPES, TRANSFORM, 3, epochs=2)),
    )
    with pytest.raises(ZeroDivisionError) as caught:
        next(iter(batches(SHAPES, lambda sample, seed: 1 / 0, 3, workers=1)))
    assert "while preparing sample 'train-00000" in "".join(caught.value.__notes__)


def test_a_sample_is_drawn_anew_in_every_epoch_and_place():
    seeds = []
    one = numbered(1)
    list(batches(one, lambda sample, seed: seeds.append(seed) or sample, 3, task="classify", epochs=2))
    assert len(set(seeds)) == 6  # three places in the batch, two epochs


def test_detection_batches_are_padded_and_in_pixels_of_their_images():
    most = max(len(record.boxes) for record in SHAPES.records)
    for images, y in batches(SHAPES, detection_train((32, 40), strength="none"), 5, shuffle=False, task="instance"):
        assert images.dtype == np.uint8 and images.shape == (5, 32, 40, 3)
        assert {k: (v.dtype.name, v.shape) for k, v in y.items()} == {
            "boxes": ("float32", (5, 8, 4)),
            "labels": ("int32", (5, 8)),
            "ignore": ("bool", (5, 8)),
            "masks": ("uint8", (5, 8, 32, 40)),
        }
        check_batch(images, y, 4)
        np.testing.assert_array_equal(y["masks"].any(axis=(2, 3)), y["labels"] >= 0)
        assert (y["boxes"][y["labels"] < 0] == 0).all() and not y["ignore"].any()
    assert most <= 8
    _, y = next(iter(batches(SHAPES, TRANSFORM, 2, max_objects=100)))
    assert y["boxes"].shape == (2, 8, 4)  # no more room than the fullest image needs
    _, y = next(iter(batches(SHAPES, TRANSFORM, 2, max_objects=3)))
    assert y["boxes"].shape == (2, 3, 4) and "masks" not in y


def test_images_of_different_sizes_make_one_batch():
    """Landscape, portrait and square: each is letterboxed, and its box scaled by its own factor."""
    sizes, records = [(50, 100), (120, 60), (80, 80)], []
    for h, w in sizes:
        image, box = np.full((h, w, 3), 255, np.uint8), np.float32([[0, 0, w, h]])
        labels = np.zeros(1, np.int32)
        records.append(Sample(id=f"{h}x{w}", image_size=(h, w), image=image, boxes=box, labels=labels))
    data = Dataset(records, ["all"], lambda record: record)
    images, y = next(iter(batches(data, detection_train((40, 40), strength="none"), 3, shuffle=False)))
    assert images.shape == (3, 40, 40, 3)
    assert y["boxes"][:, 0].tolist() == [[0, 0, 40, 20], [0, 0, 20, 40], [0, 0, 40, 40]]
    for image, (x1, y1, x2, y2) in zip(images, y["boxes"][:, 0].astype(int), strict=True):
        white = (image == 255).all(axis=2)
        assert white[y1:y2, x1:x2].all() and white.sum() == (y2 - y1) * (x2 - x1)


def test_of_too_many_objects_the_largest_stay(caplog):
    boxes = np.array([[0, 0, 2, 2], [0, 0, 9, 9], [0, 0, 1, 1], [0, 0, 5, 5]], np.float32)
    record = Sample(
        id="crowded",
        image_size=(10, 10),
        boxes=boxes,
        labels=np.arange(4, dtype=np.int32),
        ignore=np.array([False, False, False, True]),
    )
    dataset = Dataset([record], list("abcd"), lambda r: replace(r, image=np.zeros((10, 10, 3), np.uint8)))
    with caplog.at_level(logging.WARNING):
        _, y = next(iter(batches(dataset, as_it_is, 1, max_objects=2)))
    assert y["labels"].tolist() == [[1, 3]] and y["ignore"].tolist() == [[False, True]]
    np.testing.assert_array_equal(y["boxes"][0], boxes[[1, 3]])
    assert len(caplog.records) == 1 and "1 of 1 images" in caplog.text and "'crowded' has 4" in caplog.text


def test_classification_and_segmentation_batches():
    images, y = next(iter(batches(numbered(9), classification_train((8, 8)), 4, task="classify", shuffle=False)))
    assert images.shape == (4, 8, 8, 3) and y["label"].dtype == np.int32 and y["label"].tolist() == [0, 1, 2, 0]
    images, y = next(iter(batches(shape_maps(6, (48, 64)), segmentation_train((32, 40)), 4, task="segment")))
    assert images.shape == (4, 32, 40, 3) and y.keys() == {"segmentation"}
    assert y["segmentation"].shape == (4, 32, 40) and y["segmentation"].dtype == np.int32
    assert set(np.unique(y["segmentation"])) <= {0, 1, 2, 3, 4, 255}
    with pytest.raises(DataError, match=r"train-00000\d': expected map values 0\.\.3 or 255, found \[4\]"):
        list(batches(SHAPES, None, 1, task="segment"))  # whose 4 classes leave out the background


@pytest.mark.parametrize("count", [10, 4])  # the batch of 6 repeats samples of the smaller one
@pytest.mark.parametrize("mix", [None, Mixup(0.5)])
def test_the_parts_of_a_batch_make_it_up_and_only_they_are_read(count, mix):
    dataset = numbered(count)
    opened = []
    watched = Dataset(dataset.records, dataset.class_names, lambda r: opened.append(r.id) or dataset.load(r))
    transform = classification_train((4, 6)) if mix is None else as_it_is
    options = {"task": "classify", "seed": 3, "epochs": 2, "mix": mix}
    whole = list(batches(dataset, transform, 6, **options))
    parts = [list(batches(watched, transform, 6, part=(i, 3), **options)) for i in range(3)]
    joined = [
        (np.concatenate([images for images, _ in batch]), {"label": np.concatenate([y["label"] for _, y in batch])})
        for batch in zip(*parts, strict=True)
    ]
    assert_equal(joined, whole)
    assert len(opened) == len(whole) * 6 * (3 if mix else 1)  # a mix blends each row with another


@pytest.mark.parametrize(("part", "drop"), [((3, 3), True), ((-1, 2), True), ((0, 4), True), ((0, 2), False)])
def test_a_batch_is_divided_into_equal_parts_only(part, drop):
    with pytest.raises(
        ValueError, match=re.escape(f"part: expected (i, n) with n equal parts of 6 samples, found {part}")
    ):
        batches(numbered(10), as_it_is, 6, task="classify", part=part, drop_remainder=drop)


def test_errors_name_the_sample():
    def feed(change, task="detect", transform=as_it_is):
        load = SHAPES.load
        return batches(
            Dataset(SHAPES.records[:3], SHAPES.class_names, lambda r: replace(load(r), **change)),
            transform,
            3,
            task=task,
        )

    with pytest.raises(DataError, match=r"sample 'train-00000\d': expected boxes x1 < x2"):
        next(iter(feed({"boxes": np.array([[5, 5, 5, 9]], np.float32), "labels": np.zeros(1, np.int32)})))
    with pytest.raises(DataError, match=r"sample 'train-00000\d': expected labels 0..3, found 4..4"):
        next(iter(feed({"boxes": np.array([[5, 5, 7, 9]], np.float32), "labels": np.full(1, 4, np.int32)})))
    with pytest.raises(DataError, match=r"sample 'train-00000\d': task 'instance' needs masks, found None"):
        next(iter(feed({"masks": None}, "instance")))
    with pytest.raises(ZeroDivisionError) as caught:
        next(iter(feed({}, transform=lambda sample, seed: 1 / 0)))
    assert "while preparing sample 'train-00000" in "".join(caught.value.__notes__)

    def uneven(sample, seed):
        h = 10 + int(sample.id[-1])
        return Sample(id=sample.id, image_size=(h, 9), image=np.zeros((h, 9, 3), np.uint8))

    with pytest.raises(DataError, match=r"same size, found .*\(12, 9\): 'train-000002'"):
        next(iter(feed({}, transform=uneven)))


def test_one_text_is_no_list_of_class_names():
    with pytest.raises(ValueError, match=r"class_names: expected a list of names, such as \['cat'\], found a text"):
        Dataset([], "cat")
    with pytest.raises(ValueError, match=r"such as \['ab'\], found a text"):
        arrays(np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32), "ab")


def test_wrong_arguments_are_named():
    with pytest.raises(DataError, match="the data set is empty"):
        batches(SHAPES[:0], TRANSFORM, 2)
    with pytest.raises(DataError, match="the data set is empty"):
        steps_per_epoch(SHAPES[:0], 2)
    for wrong in ({"task": "detection"}, {"batch_size": 0}, {"epochs": 0}, {"workers": -1}):
        with pytest.raises(ValueError, match=f"found .*{next(iter(wrong))}={next(iter(wrong.values()))!r}"):
            batches(SHAPES, TRANSFORM, **{"batch_size": 2, **wrong})
    with pytest.raises(ValueError, match="max_objects: expected 1 or more, found 0"):
        batches(SHAPES, TRANSFORM, 2, max_objects=0)
    with pytest.raises(ValueError, match=r"start_step: expected 0..10 \(2 epochs\), found 11"):
        batches(SHAPES, TRANSFORM, 2, epochs=2, start_step=11)
    with pytest.raises(ValueError, match=r"step: expected 0\.\.4, found 5"):
        batch_ids(SHAPES, 2, 0, 0, 5)


def test_keras_fit_takes_every_batch_once_and_in_order():
    import keras

    class Reader(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale, self.seen = keras.layers.Dense(1), []

        def call(self, x):
            return self.scale(keras.ops.mean(keras.ops.cast(x, "float32"), axis=(1, 2)))

        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            self.seen.append((keras.ops.convert_to_numpy(x), {k: keras.ops.convert_to_numpy(v) for k, v in y.items()}))
            return keras.ops.mean(y_pred**2) + 0 * keras.ops.sum(y["boxes"])

    model = Reader()
    model.compile("sgd", run_eagerly=True)
    feed = batches(SHAPES, TRANSFORM, 4, epochs=3)
    model.fit(feed, epochs=3, steps_per_epoch=steps_per_epoch(SHAPES, 4), shuffle=False, verbose=0)
    assert_equal(model.seen, list(feed))


def test_two_samples_with_one_id_and_two_classes_with_one_name_are_refused():
    samples = [Sample(id=id, image_size=(4, 4), image=np.zeros((4, 4, 3), np.uint8)) for id in ("a", "b", "a")]
    with pytest.raises(DataError, match=r"^mine: 2 samples have the id 'a'; each needs one of its own$"):
        Dataset(samples, ["cat"], source="mine")
    with pytest.raises(DataError, match=r"^the data set: 2 classes are named 'cat'; each needs one of its own$"):
        Dataset(samples[:2], ["cat", "dog", "cat"])
    again = Dataset(samples[:2], ["cat"]).subset([1, 0, 1])  # as a bootstrap draws
    assert [record.id for record in again.records] == ["b", "a", "b"]

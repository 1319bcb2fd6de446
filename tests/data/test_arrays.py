"""Images in one array: the same batches as image by image, grey networks from end to end, and what is refused."""

import pickle
import time
import zipfile

import keras
import numpy as np
import pytest
from support import tiny_data

from visionkit.backbones import BACKBONES
from visionkit.data.arrays import arrays, mnist
from visionkit.data.batches import batches
from visionkit.data.dataset import Dataset, join
from visionkit.data.mix import CutMix
from visionkit.evaluate.scores import evaluate
from visionkit.models import MODELS
from visionkit.open_model import open_predictor
from visionkit.resizing import to_channels
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.run import run
from visionkit.types import DataError, check_sample


def stripes(count, seed=0):
    """Grey 12x12 noise; class 1 has a bright left half, class 0 a bright upper half."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 120, (count, 12, 12)), rng.integers(0, 2, count)
    images[labels == 1, :, :6] += 100
    images[labels == 0, :6] += 100
    return arrays(images.astype(np.uint8), labels, ["upper", "left"], prefix=f"{seed}-")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mix", [None, CutMix()])
def test_whole_batches_are_those_made_image_by_image(channels, mix):
    fast = stripes(23)
    slow = Dataset(fast.records, fast.class_names, fast.load)
    options = {"task": "classify", "epochs": 2, "seed": 3, "channels": channels, "mix": mix, "drop_remainder": False}
    pairs = list(zip(batches(fast, None, 5, **options), batches(slow, None, 5, **options), strict=True))
    assert len(pairs) == 10
    for (images, y), (expected, expected_y) in pairs:
        assert images.dtype == np.uint8 and images.shape[1:] == (12, 12, channels)
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(y["label"], expected_y["label"])
        assert y["label"].dtype == expected_y["label"].dtype


def test_samples_keep_the_conventions_and_follow_their_rows():
    data = stripes(9)
    for part in (data, data[2:5], data.subset([7, 0]), join([data, stripes(4, seed=1)])):
        for i, sample in enumerate(part):
            check_sample(sample, 2)
            assert sample.label == part.records[i].label
    assert [s.id for s in data.subset([7, 0])] == ["0-00007", "0-00000"]
    np.testing.assert_array_equal(data[2:5].images[1, ..., 0], data[3].image[..., 2])
    assert data[2:5].labels.tolist() == data.labels[2:5].tolist()
    assert pickle.loads(pickle.dumps(data))[3].id == "0-00003"


def test_tens_of_thousands_of_images_a_second():
    images = np.random.default_rng(0).integers(0, 256, (20_000, 28, 28)).astype(np.uint8)
    data = arrays(images, np.zeros(20_000, int), ["0"])
    start = time.process_time()
    count = sum(len(x) for x, _ in batches(data, None, 100, task="classify", epochs=2, channels=1))
    assert count == 40_000
    assert count / (time.process_time() - start) > 40_000  # well above 1,000,000 on a quiet core


def test_grey_and_rgb_become_each_other():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    rgb = to_channels(grey, 3)
    assert rgb.shape == (16, 16, 3)
    np.testing.assert_array_equal(to_channels(rgb, 1), grey)  # to the bit
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    # 0.299 R + 0.587 G + 0.114 B: 76.2, 149.7, 29.1; 2.99 + 11.74 + 3.42 = 18.15
    assert to_channels(colours, 1)[0, :, 0].tolist() == [76, 150, 29, 18]
    assert to_channels(colours, 3) is colours
    with pytest.raises(DataError, match="a network of 4 input channels takes neither"):
        to_channels(colours, 4)


def test_a_grey_network_is_trained_saved_and_scored_as_any_other(tmp_path):
    def recipe(seed: int = 0) -> Recipe:
        data = stripes(96)
        backbone = BACKBONES["mlp"]((12, 12, 1), widths=(8,))
        model = MODELS["classifier"](backbone, 2, class_names=data.class_names, image_size=(12, 12), resize="stretch")
        phases = [Phase(15, keras.optimizers.Adam(1e-2))]
        return Recipe(model=model, train=data, val=stripes(24, seed=1), phases=phases, batch_size=16)

    results = run(recipe, {"seed": 0}, tmp_path / "run")
    assert results["top1"] == 1.0
    assert (tmp_path / "run" / "first_batch.jpg").exists()
    predictor = open_predictor(tmp_path / "run")
    assert predictor.channels == 1
    scores = evaluate(predictor, stripes(24, seed=1))
    assert scores["top1"] == results["top1"]
    colour = np.repeat(stripes(1).images[0], 3, axis=-1)  # an RGB picture of any size is taken too
    assert predictor(np.kron(colour, np.ones((3, 3, 1), np.uint8))).scores.sum() == pytest.approx(1, abs=1e-6)


def test_wrong_arrays_are_named():
    images, labels = np.zeros((3, 4, 4), np.uint8), np.zeros(3, int)
    with pytest.raises(DataError, match=r"found float64 \[3, 4, 4\]"):
        arrays(images.astype(float), labels, ["a", "b"])
    with pytest.raises(DataError, match=r"found uint8 \[3, 4, 4, 2\]"):
        arrays(np.zeros((3, 4, 4, 2), np.uint8), labels, ["a", "b"])
    with pytest.raises(DataError, match=r"integer labels \[3\], one per image, found int64 \[2\]"):
        arrays(images, labels[:2], ["a", "b"])
    with pytest.raises(DataError, match=r"labels 0\.\.1, found 2 in row 1"):
        arrays(images, np.array([0, 2, 1]), ["a", "b"])
    with pytest.raises(DataError, match="arrays: sample '00000' is in two"):
        join([arrays(images, labels, ["a", "b"])] * 2)


@pytest.mark.parametrize("shape", [(2**20, 28, 28), (2**21, 0, 0), (2**40, 1, 1)])
def test_arrays_that_would_take_too_much_memory_are_refused_by_their_headers(tmp_path, shape):
    tiny_data.mnist(tmp_path)
    with np.load(tmp_path / "mnist.npz") as data:
        arrays = dict(data)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as stream:
                if name != "x_train":
                    np.lib.format.write_array(stream, array)
                else:  # the pixels, which would not fit, are not there: it is refused before they are missed
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(DataError, match=r"mnist\.npz: its arrays take \d+ MB of memory, above the limit of 512 MB"):
        mnist(tmp_path, "train")
    assert len(mnist(tmp_path, "test")) == 4


def test_mnist_reads_its_splits(tmp_path):
    tiny_data.mnist(tmp_path)
    assert [len(mnist(tmp_path, split)) for split in ("train", "test", None)] == [6, 4, 10]
    data = mnist(tmp_path, "test")
    assert data.images.shape == (4, 28, 28, 1)
    assert (data.class_names, data[1].id, data[1].label) == ([*"0123456789"], "test/00001", 1)
    with pytest.raises(DataError, match="no split 'val'; there are: test, train"):
        mnist(tmp_path, "val")
    with pytest.raises(DataError, match="no such file"):
        mnist(tmp_path / "elsewhere")
    np.savez(tmp_path / "mnist.npz", x_train=np.array([{}], object))
    with pytest.raises(DataError, match="expected arrays x_train"):  # pickles are not read
        mnist(tmp_path, "train")

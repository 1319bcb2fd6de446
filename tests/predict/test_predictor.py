"""The predictor with a detector small enough to check by hand: it finds the one bright rectangle of an image."""

import io
import threading
from itertools import count

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from visionkit import images
from visionkit.predict.inputs import Failure, read_item
from visionkit.predict.masks import paste_masks
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError, Detections, Sample, check_detections

SIZE = (64, 96)  # (height, width) of the network, not square


class FindBright(keras.layers.Layer):
    """The box around all pixels above 128 among others: larger than the image, of label -1, without area, badly scored.

    They come unsorted, and it is the label alone that marks padding.
    """

    def call(self, pixels):
        bright = ops.cast(ops.mean(pixels, axis=-1) > 128, "float32")  # [B, h, w]
        rows, columns = ops.max(bright, axis=2), ops.max(bright, axis=1)  # [B, h], [B, w]
        found = ops.max(columns, axis=1)  # [B]
        x1, y1 = ops.cast(ops.argmax(columns, axis=1), "float32"), ops.cast(ops.argmax(rows, axis=1), "float32")
        x2 = ops.cast(ops.shape(columns)[1] - ops.argmax(ops.flip(columns, 1), axis=1), "float32")
        y2 = ops.cast(ops.shape(rows)[1] - ops.argmax(ops.flip(rows, 1), axis=1), "float32")
        box = ops.stack([x1, y1, x2, y2], axis=-1)  # [B, 4]
        beyond = box + ops.convert_to_tensor([-500.0, -500.0, 500.0, 500.0])
        right_of = box + 500.0  # nothing is left of it when it is clipped
        boxes = ops.stack([beyond, box, box, right_of, box], axis=1)  # [B, 5, 4]
        scores = found[:, None] * ops.convert_to_tensor([[0.6, 0.9, 0.95, 0.8, 0.2]])
        labels = ops.cast(found[:, None] * 0 + ops.convert_to_tensor([[0.0, 1.0, -1.0, 1.0, 1.0]]), "int32")
        return {"boxes": boxes, "scores": scores, "labels": labels}


class FakeTask:
    class_names = ("background-like", "bright")

    def __init__(self, resize, image_size=SIZE, any_size=False):
        self.resize, self.image_size, self.any_size = resize, image_size, any_size
        self.shapes = []  # of the batches, also those of the networks of other sizes
        self.built = []  # sizes

    def for_size(self, image_size):
        other = FakeTask(self.resize, image_size)
        other.shapes = self.shapes
        self.built.append(image_size)
        return other

    def serving(self):
        pixels = keras.Input((*self.image_size, 3), dtype="float32", name="images")
        model = keras.Model(pixels, FindBright()(pixels))
        run = model.predict_on_batch

        def spy(batch):
            self.shapes.append((batch.shape, batch.dtype))
            return run(batch)

        model.predict_on_batch = spy
        return model


def picture(size, box):
    """A dark image of (height, width) with one bright rectangle."""
    image = np.full((*size, 3), 20, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 250
    return image


@pytest.fixture(scope="module", params=["letterbox", "stretch"])
def predictor(request):
    return Predictor(FakeTask(request.param), batch_size=3, score=0.3)


@pytest.mark.parametrize(
    ("size", "box"), [((256, 192), (32, 64, 96, 128)), ((128, 480), (100, 20, 300, 90)), ((32, 48), (10, 4, 30, 28))]
)
def test_boxes_are_in_original_pixels(predictor, size, box):
    found = predictor(picture(size, box))
    check_detections(found, num_classes=2)
    assert found.image_size == size
    # One network pixel is 4 (tall), 5 (wide) or 0.5 original ones; the edge is found to within one of them.
    pixel = max(size[0] / SIZE[0], size[1] / SIZE[1])
    np.testing.assert_allclose(found.boxes[0], box, atol=1.01 * pixel)
    np.testing.assert_allclose(found.boxes[1], [0, 0, size[1], size[0]])  # the one that reached beyond is clipped
    # Rows with label -1, without area and with a score below 0.3 are gone.
    np.testing.assert_allclose(found.scores, [0.9, 0.6], atol=1e-6)
    assert found.labels.tolist() == [1, 0]


def test_exif_orientation(predictor, tmp_path):
    """A camera held upright stores the picture on its side and says so: the boxes are those of the upright one."""
    upright = picture((240, 160), (40, 120, 100, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to view"
    Image.fromarray(np.rot90(upright)).save(tmp_path / "phone.png", exif=exif)
    found = predictor(tmp_path / "phone.png")
    assert found.image_size == (240, 160) and found.file == tmp_path / "phone.png"
    np.testing.assert_allclose(found.boxes[0], [40, 120, 100, 200], atol=4)


def test_order_padding_and_one_shape(tmp_path):
    task = FakeTask("stretch")
    predictor = Predictor(task, batch_size=3)
    boxes = [(8 * i, 0, 8 * i + 16, 32) for i in range(7)]
    results = list(predictor(picture(SIZE, box) for box in boxes))
    assert [r.id for r in results] == [str(i) for i in range(7)]
    np.testing.assert_allclose([r.boxes[0] for r in results], boxes)
    assert task.shapes == [((3, *SIZE, 3), np.uint8)] * 3  # 3 + 3 + 1 and two black ones
    assert list(predictor([])) == []


def test_broken_images_are_named_and_the_rest_is_done(predictor, tmp_path):
    good = []
    for i in range(5):
        good.append(tmp_path / f"good{i}.png")
        images.write_image(good[-1], picture((64, 96), (8 * i, 8, 8 * i + 16, 32)))
    (tmp_path / "text.jpg").write_text("not an image")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:60])
    files = [tmp_path / "text.jpg", good[0], cut, good[1], good[2], tmp_path / "gone.png", good[3], good[4]]
    results = list(predictor(files, failures="yield"))
    assert [r.file for r in results] == files
    assert [isinstance(r, Failure) for r in results] == [True, False, True, False, False, True, False, False]
    for failure, name in zip(
        [r for r in results if isinstance(r, Failure)], ["text.jpg", "cut.png", "gone.png"], strict=True
    ):
        assert name in failure.error and "\n" not in failure.error
    x1 = [r.boxes[0, 0] for r in results if isinstance(r, Detections)]
    np.testing.assert_allclose(x1, [0, 8, 16, 24, 32])


def test_a_broken_image_raises_in_its_turn_unless_failures_are_asked_for(predictor, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    image = picture((64, 96), (8, 8, 24, 32))
    results = predictor([image, tmp_path / "text.jpg", image])
    assert len(next(results)) == 2
    with pytest.raises(DataError, match=r"text\.jpg: is not an image that can be read$"):
        next(results)
    with pytest.raises(DataError, match="8 bytes: is not an image"):
        predictor(b"nonsense")
    failure = predictor(tmp_path / "text.jpg", failures="yield")
    assert isinstance(failure, Failure) and failure.file == tmp_path / "text.jpg"


def test_a_single_image_is_decoded_once(predictor, monkeypatch):
    decoded, read = [], images.read_image
    monkeypatch.setattr(images, "read_image", lambda data: decoded.append(data) or read(data))
    stream = io.BytesIO()
    Image.fromarray(picture((64, 96), (8, 8, 24, 32))).save(stream, "PNG")
    result = predictor(stream.getvalue())
    assert len(decoded) == 1
    assert result.image.shape == (64, 96, 3)  # which a notebook draws on


def test_an_array_with_alpha_becomes_what_its_file_would(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_item(0, lambda: pixels).image, images.read_image(tmp_path / "a.png"))


def test_everything_that_holds_an_image_is_taken(predictor, tmp_path):
    image = picture((64, 96), (8, 8, 24, 32))
    file = tmp_path / "a.png"
    images.write_image(file, image)
    expected = predictor(image).boxes[0]
    np.testing.assert_allclose(expected, [8, 8, 24, 32])
    turned = Image.fromarray(np.rot90(image))
    turned.getexif()[0x0112] = 6
    seen_through = np.dstack([image, np.where(image[..., 0] > 128, 255, 250).astype(np.uint8)])  # on white: 20 -> 25
    sixteen_bits = Image.fromarray(image[..., 0].astype(np.uint16) * 257)
    several = [
        *(str(file), file, file.read_bytes(), image[..., 0], image[..., :1], seen_through),
        *(Image.fromarray(image), Image.fromarray(image).convert("P"), Image.open(file), sixteen_bits, turned),
        *(Image.fromarray(seen_through), keras.ops.convert_to_tensor(image), Image.fromarray(image).convert("CMYK")),
    ]
    for found in predictor(several):
        np.testing.assert_allclose(found.boxes[0], expected, err_msg=found.id)
    assert len(list(predictor(several))) == len(several)
    for one in several:
        np.testing.assert_allclose(predictor(one).boxes[0], expected)
    batch = list(predictor(np.stack([image] * 4)))
    assert [found.id for found in batch] == ["0", "1", "2", "3"]
    assert len(list(predictor(np.stack([image])))) == 1
    half = np.dstack([np.zeros((64, 96, 3), np.uint8), np.full((64, 96, 1), 64, np.uint8)])
    assert len(predictor(half)) and not len(predictor(half[..., :3]))  # a thin black over white is bright


def test_a_video_gives_a_result_for_each_frame(predictor, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE[::-1])
    for i in range(5):
        writer.write(picture(SIZE, (8 * i, 8, 8 * i + 16, 32)))
    writer.release()
    x1 = [found.boxes[0, 0] for found in predictor(tmp_path / "a.avi")]
    np.testing.assert_allclose(x1, [0, 8, 16, 24, 32], atol=1)
    assert [found.id for found in predictor(str(tmp_path / "a.avi"))] == ["0", "1", "2", "3", "4"]
    with pytest.raises(DataError, match=r"a\.avi: a video among images; give it to the predictor alone"):
        list(predictor([tmp_path / "a.avi"]))
    with pytest.raises(DataError, match=r"b\.mp4: no such file"):
        predictor(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").write_text("nothing")
    with pytest.raises(DataError, match=r"b\.mp4: not a video that can be read"):
        predictor(tmp_path / "b.mp4")


def test_short_names():
    assert repr(Predictor(FakeTask("stretch"))) == "Predictor(FakeTask, detect, 2 classes, 64x96)"


def test_portraits_and_squares_meet_networks_of_their_own(tmp_path):
    task = FakeTask("letterbox", any_size=True)
    predictor = Predictor(task, batch_size=2)
    assert predictor.sizes == ((64, 96), (96, 64), (64, 64))
    # 3 landscapes, 3 portraits and 2 squares in turns, one of them broken.
    sizes = [(128, 192), (192, 128), (300, 300), (100, 200), (200, 100), (64, 64), (64, 96), (96, 64)]
    shown = [picture(size, (10, 20, 50, 60)) for size in sizes]
    (tmp_path / "text.jpg").write_text("not an image")
    results = list(predictor([*shown[:4], tmp_path / "text.jpg", *shown[4:]], failures="yield"))
    assert isinstance(results.pop(4), Failure)
    assert [found.image_size for found in results] == sizes
    for found, (h, w) in zip(results, sizes, strict=True):
        scale = min(64 / min(h, w), 96 / max(h, w))
        np.testing.assert_allclose(found.boxes[0], [10, 20, 50, 60], atol=1.01 / scale)
    assert task.built == [(96, 64), (64, 64)]  # each once
    seen = [shape[1:3] for shape, _ in task.shapes]
    assert sorted(seen) == sorted([(64, 96)] * 2 + [(96, 64)] * 2 + [(64, 64)])  # two images a step, where there are
    list(predictor(shown[:3]))
    assert len(task.built) == 2

    task.shapes.clear()
    one = Predictor(task, batch_size=2, one_size=True)
    assert one.sizes == ((64, 96),) and Predictor(FakeTask("stretch", any_size=True)).sizes == ((64, 96),)
    assert Predictor(FakeTask("letterbox", (64, 64), any_size=True)).sizes == ((64, 64),)
    list(one(shown))
    assert {shape[1:3] for shape, _ in task.shapes} == {(64, 96)}


def test_a_lone_portrait_does_not_wait_for_ever():
    task = FakeTask("letterbox", any_size=True)
    taken = count()

    def one_portrait():
        yield picture((96, 64), (4, 4, 20, 20))
        while True:
            next(taken)
            yield picture((64, 96), (4, 4, 20, 20))

    results = Predictor(task, batch_size=3)(one_portrait())
    assert next(results).image_size == (96, 64)
    results.close()
    assert next(taken) <= 7 * 3


def test_samples_and_datasets(predictor, tmp_path):
    image = picture((64, 96), (8, 8, 24, 32))
    images.write_image(tmp_path / "a.png", image)
    read = Sample(id="read", image_size=(64, 96), image=image)
    record = Sample(id="record", image_size=(64, 96), file=tmp_path / "a.png")
    first, second = predictor([read, record])
    assert (first.id, second.id, second.file) == ("read", "record", tmp_path / "a.png")
    np.testing.assert_array_equal(first.boxes, second.boxes)
    alone = predictor(read)
    np.testing.assert_array_equal(alone.boxes, first.boxes)


def test_score_for_one_call(predictor):
    image = picture((64, 96), (8, 8, 24, 32))
    assert len(next(predictor([image], score=0.0)).scores) == 3  # still neither the padded row nor the empty one
    assert len(next(predictor([image], score=0.7)).scores) == 1
    assert len(next(predictor([np.zeros((64, 96, 3), np.uint8)])).scores) == 0
    for wrong in (30, -0.1, float("nan"), "high"):
        with pytest.raises(ValueError, match=f"score: expected 0 to 1, found {wrong!r}"):
            predictor([image], score=wrong)


def test_reads_only_a_little_ahead(predictor):
    """However many images there are: at most 2 batches wait decoded, 2 are at the model, one is handed out."""
    before = threading.active_count()
    taken = count()

    def endless():
        while True:
            next(taken)
            yield picture((32, 48), (4, 4, 20, 20))

    results = predictor(endless())
    for _ in range(10):
        next(results)
    results.close()  # an early end leaves no thread behind
    assert next(taken) <= 10 + 5 * 3
    assert threading.active_count() == before


def test_the_model_does_not_wait_for_whoever_takes_the_results():
    task, second = FakeTask("stretch"), threading.Event()
    predictor = Predictor(task, batch_size=1)
    run = predictor._serving.predict_on_batch

    def watched(batch):
        if task.shapes:
            second.set()
        return run(batch)

    predictor._serving.predict_on_batch = watched
    results = predictor([picture(SIZE, (8, 8, 24, 32))] * 3)
    next(results)
    assert second.wait(60)  # and nothing was asked for meanwhile
    assert len(list(results)) == 2


def test_wrong_arrays_and_models_are_refused(predictor):
    with pytest.raises(ValueError, match=r"image 0: expected uint8 .* of 0\.\.255, found float32 \[8, 8, 3\]"):
        predictor(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match=r"image 1: expected uint8 \[H, W\] .*, found uint8 \[8, 8, 2\]"):
        list(predictor([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 2), np.uint8)]))
    with pytest.raises(TypeError, match="image 0: expected a file, bytes, an array or an image, found NoneType"):
        list(predictor([None]))
    with pytest.raises(TypeError, match="expected an image, a batch, a video, or several images, found int"):
        predictor(3)
    with pytest.raises(TypeError, match="several images, found dict"):
        predictor({"a.png": 1})
    with pytest.raises(ValueError, match=r"found float64 \[4, 4\]"):
        predictor(np.zeros((4, 4)))
    with pytest.raises(
        DataError, match=r"^\.: is a folder; give its files, such as sorted\(Path\('\.'\)\.glob\('\*\.jpg'\)\)$"
    ):
        predictor(".")
    with pytest.raises(DataError, match=r"^nowhere\.png: no such file$"):
        predictor("nowhere.png")
    with pytest.raises(ValueError, match="failures: expected 'raise' or 'yield', found 'skip'"):
        predictor([], failures="skip")
    with pytest.raises(ValueError, match=r"resize must be .*, not 'squash'"):
        Predictor(FakeTask("squash"))


def test_a_classifier_sees_the_middle_and_gives_scores():
    class Brightness:  # class 0 dark, class 1 bright, by the mean of what it is shown
        image_size, resize, class_names, task = (8, 8), "crop", ["dark", "bright"], "classify"

        def serving(self):
            inputs = keras.Input((8, 8, 3))
            bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))[:, :1]
            return keras.Model(inputs, {"scores": keras.layers.Concatenate()([1 - bright, bright])})

    image = np.zeros((40, 80, 3), np.uint8)
    image[3:37, 23:57] = 255  # the crop takes 35 x 35 pixels from (2, 22): all of it but one line on two sides
    found = Predictor(Brightness(), batch_size=2)(image)
    assert found.image_size == (40, 80)
    assert found.scores.dtype == np.float32
    assert found.scores[1] == pytest.approx(34 * 34 / 35**2, abs=0.02)


def test_masks_are_pasted_over_their_boxes():
    # Left half of the box on, right half off: cells are 10 pixels wide, the mean of 1 and 0 lies at x = 30.
    masks = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    (pasted,) = paste_masks(masks, np.float32([[20, 10, 40, 30]]), (50, 60))
    expected = np.zeros((50, 60), np.uint8)
    expected[10:30, 20:30] = 1
    # In the corner cells two factors fade at once (at the very corner 0.5 * 0.5), so corners are rounded off.
    assert (pasted <= expected).all() and pasted.sum() >= 0.8 * expected.sum()
    assert pasted[20, 20:40].tolist() == [1] * 10 + [0] * 10  # the middle row is exact
    (beyond,) = paste_masks(np.ones((1, 28, 28)), np.float32([[-10, -10, 30, 20]]), (50, 60))
    assert beyond[:19, :29].min() == 1  # to the edge, but for the rounded corner
    assert beyond[20:].sum() == 0 and beyond[:, 30:].sum() == 0
    assert paste_masks(np.ones((1, 2, 2)), np.float32([[70, 60, 80, 90]]), (50, 60)).sum() == 0  # outside altogether

"""albumentations on whole samples: boxes, masks, maps, labels and ids stay in step, or the transform is refused."""

import inspect
import json
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from visionkit.data.albumentations_adapter import A
from visionkit.data.augment import REFUSED, Augment
from visionkit.data.augment_file import pipeline_of, read_pipeline, saved_form
from visionkit.types import IGNORE, DataError, Sample, check_sample

SIZE = (64, 80)
COLOURS = np.array([(250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 20)])
BOXES = [(6, 4, 26, 24), (46, 6, 72, 24), (8, 36, 26, 58), (44, 36, 70, 58)]
# What cannot be made without arguments.
ARGUMENTS = {
    "AtLeastOneBBoxRandomCrop": {"height": 40, "width": 40},
    "CenterCrop": {"height": 40, "width": 40},
    "ConstrainedCoarseDropout": {"mask_indices": [1]},
    "Crop": {"x_min": 5, "y_min": 5, "x_max": 60, "y_max": 60},
    "CropAndPad": {"px": -4},
    "CropNonEmptyMaskIfExists": {"height": 40, "width": 40},
    "GridElasticDeform": {"num_grid_xy": (4, 4), "magnitude": 3},
    "LongestMaxSize": {"max_size": 48},
    "Pad": {"padding": 8},
    "PadIfNeeded": {"min_height": 90, "min_width": 100},
    "RandomCrop": {"height": 40, "width": 40},
    "RandomResizedCrop": {"size": (48, 48)},
    "RandomSizedBBoxSafeCrop": {"height": 48, "width": 48},
    "RandomSizedCrop": {"min_max_height": (30, 60), "size": (48, 48)},
    "Resize": {"height": 48, "width": 60},
    "SmallestMaxSize": {"max_size": 48},
    "XYMasking": {"num_masks_x": 1, "num_masks_y": 1, "mask_x_length": 8, "mask_y_length": 8},
}
COVERS = {"CoarseDropout", "Erasing", "GridDropout", "XYMasking", "FrequencyMasking", "TimeMasking", "PixelDropout"}
ALL = {
    name: found
    for name, found in inspect.getmembers(A, inspect.isclass)
    if issubclass(found, A.DualTransform) and not issubclass(found, A.Transform3D) and found is not A.DualTransform
}
NOT_KEPT = {"ConstrainedCoarseDropout", "Lambda", "MaskDropout", "Mosaic", "OverlayElements", "RandomCropNearBBox"}
NOT_KEPT |= {"RandomGridShuffle"}
SPATIAL = sorted(set(ALL) - NOT_KEPT)


def coloured(masks: bool) -> Sample:
    """Four objects of labels and map classes 1..4, each of a colour of its own on black; the second is ignored."""
    image, segmentation = np.full((*SIZE, 3), 10, np.uint8), np.zeros(SIZE, np.int32)
    planes = np.zeros((4, *SIZE), np.uint8)
    for k, (x1, y1, x2, y2) in enumerate(BOXES):
        image[y1:y2, x1:x2] = COLOURS[k]
        segmentation[y1:y2, x1:x2] = k + 1
        planes[k, y1:y2, x1:x2] = 1
    objects = {"boxes": np.array(BOXES, np.float32), "labels": np.arange(1, 5, dtype=np.int32)}
    extra = {"masks": planes, "segmentation": segmentation} if masks else {}
    return Sample(id="s", image_size=SIZE, image=image, ignore=np.array([0, 1, 0, 0], bool), **objects, **extra)


def of_colour(image, k, tolerance):
    return np.abs(image.astype(int) - COLOURS[k]).max(axis=2) < tolerance


@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes"])
@pytest.mark.parametrize("name", SPATIAL)
def test_every_spatial_transform_keeps_everything_in_step(name, masks):
    """Where an object's colour is in the result, there are its box, label, mask and class."""
    if name == "CropNonEmptyMaskIfExists" and not masks:
        pytest.skip("needs masks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that another transform does the same, faster
        augment = Augment(A.Compose([ALL[name](**ARGUMENTS.get(name, {}), p=1)]), SIZE)
    seen = 0
    for seed in range(4):
        result = check_sample(augment.augment(coloured(masks), seed))
        assert result.id == "s"
        for k in range(4):
            (rows,) = np.nonzero(result.labels == k + 1)
            if of_colour(result.image, k, 60).sum() < 12:
                continue  # hardly anything left
            assert len(rows) == 1, (seed, k)
            row, seen = rows[0], seen + 1
            assert result.ignore[row] == (k == 1)
            y, x = np.nonzero(of_colour(result.image, k, 40))
            x1, y1, x2, y2 = result.boxes[row]
            outside = (x < x1 - 2) | (x > x2 + 1) | (y < y1 - 2) | (y > y2 + 1)
            assert outside.mean() <= 0.03, (seed, k)
            if masks:
                colour, mask = of_colour(result.image, k, 100), result.masks[row].astype(bool)
                assert (colour & ~mask).sum() <= 0.15 * colour.sum() + 4, (seed, k)
                assert name in COVERS or (mask & ~colour).sum() <= 0.25 * mask.sum() + 30, (seed, k)
                assert ((result.segmentation == k + 1) != mask).mean() < 0.01, (seed, k)
    assert seen >= 4


def unchanged(image, **_):
    return image


def made(name):
    return A.Lambda(image=unchanged) if name == "Lambda" else ALL[name](**ARGUMENTS.get(name, {}))


@pytest.mark.parametrize("name", sorted(NOT_KEPT))
def test_what_cannot_be_kept_in_step_is_refused_by_name(name):
    for pipeline in ([made(name)], A.Compose([A.OneOf([made(name), A.NoOp()])])):
        with pytest.raises(DataError, match=f"augmentation: {name} .*leave it out$"):
            Augment(pipeline, SIZE)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ([A.Normalize()], "Normalize makes numbers of other ranges of the pixels; models normalise in their first"),
        ([A.CenterCrop3D((1, 2, 3))], "CenterCrop3D is for volumes, not for images"),
        ([A.Rotate(mask_interpolation=1)], r"Rotate would blend the classes .* mask_interpolation=0 \(nearest\)"),
        (["flip"], "str is not a transform of albumentations"),
        (A.Compose([A.HorizontalFlip()], keypoint_params=A.KeypointParams("xy")), "keypoint_params are not taken"),
        (A.Compose([A.NoOp()], additional_targets={"depth": "mask"}), "additional_targets are not taken"),
    ],
)
def test_other_pipelines_are_refused_in_a_line(pipeline, message):
    with pytest.raises(DataError, match=message):
        Augment(pipeline, SIZE)


def test_every_reason_names_something_of_albumentations():
    assert [name for name in REFUSED if not hasattr(A, name)] in ([], ["ToTensorV2", "ToTensor3D"])


def test_a_dropped_box_takes_its_mask_its_label_and_its_flag_along():
    crop = A.Compose([A.Crop(0, 0, 40, 64)], bbox_params=A.BboxParams(format="coco", min_visibility=0.3))
    result = Augment(crop, SIZE).augment(coloured(True), 0)
    assert result.labels.tolist() == [1, 3]
    assert result.ignore.tolist() == [False, False]
    for box, mask in zip(result.boxes, result.masks, strict=True):
        x1, y1, x2, y2 = box.astype(int)
        assert mask.sum() == mask[y1:y2, x1:x2].size
    assert result.boxes.tolist() == [list(map(float, BOXES[0])), list(map(float, BOXES[2]))]


def test_the_limits_of_the_users_bbox_params_count():
    half = [A.Crop(0, 0, 59, 64)]  # half of the two boxes on the right
    labels = {}
    for share in (0.4, 0.6):
        params = A.BboxParams(format="yolo", min_visibility=share, label_fields=["whatever"])
        labels[share] = Augment(A.Compose(half, bbox_params=params), SIZE).augment(coloured(False), 0).labels.tolist()
    assert labels == {0.4: [1, 2, 3, 4], 0.6: [1, 3]}


def test_there_is_no_class_where_there_is_no_image():
    result = Augment([A.Pad(padding=8, p=1)], SIZE).augment(coloured(True), 0)
    assert (result.segmentation[:8] == IGNORE).all()
    assert (result.segmentation[8:-8, 8:-8] == coloured(True).segmentation).all()


def test_the_result_has_the_networks_size_and_samples_without_objects_are_taken():
    augment = Augment([A.HorizontalFlip(p=1), A.GaussNoise(p=1)], (32, 48), "letterbox")
    assert check_sample(augment(coloured(True), 3)).image_size == (32, 48)
    empty = Sample(
        id="e",
        image_size=SIZE,
        image=coloured(False).image,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int32),
        masks=np.zeros((0, *SIZE), np.uint8),
    )
    assert check_sample(augment(empty, 0)).masks.shape == (0, 32, 48)
    labelled = Sample(id="c", image_size=SIZE, image=coloured(False).image, label=2)
    result = Augment([A.Rotate(30, p=1)], (32, 32), "crop")(labelled, 0)
    assert (result.image_size, result.label, result.boxes) == ((32, 32), 2, None)


def test_the_same_seed_gives_the_same_bits_in_threads_and_after_pickling():
    pipeline = A.Compose([A.RandomResizedCrop((48, 48), p=0.7), A.OneOf([A.GaussNoise(), A.ElasticTransform()], p=0.8)])
    augment = Augment(pipeline, SIZE)
    alone = [augment(coloured(True), seed) for seed in range(6)]
    assert len({one.image.tobytes() for one in alone}) > 3
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda seed: augment(coloured(True), seed), range(6)))
    again = pickle.loads(pickle.dumps(augment))
    for seed, one in enumerate(alone):
        for other in (threads[seed], again(coloured(True), seed)):
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.boxes, other.boxes)
            assert np.array_equal(one.masks, other.masks)


def test_an_augmentation_that_fails_or_returns_no_rgb_names_the_sample():
    with pytest.raises(DataError, match=r"sample 's': the augmentation failed: .*\(100, 100\)"):
        Augment([A.RandomCrop(100, 100, p=1)], SIZE)(coloured(False), 0)
    with pytest.raises(DataError, match=r"sample 's': .* returned uint8 \(64, 80\); expected uint8 \(h, w, 3\)"):
        Augment([A.ToGray(num_output_channels=1, p=1)], SIZE)(coloured(False), 0)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_saved_pipeline_is_the_same_pipeline(tmp_path, form):
    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.SomeOf([A.Rotate(15), A.GaussNoise()], n=1)], p=0.9)
    file = tmp_path / f"augment.{form}"
    A.save(pipeline, file, data_format=form)
    read = Augment(pipeline_of(json.loads(json.dumps(saved_form(file)))), SIZE)  # as from the knobs of a run
    for seed in range(4):
        one, other = Augment(pipeline, SIZE)(coloured(False), seed), read(coloured(False), seed)
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.boxes, other.boxes)
    assert saved_form(pipeline) == saved_form(saved_form(pipeline))


FLIP = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in ("ab", "bc", "cd", "de", "ef", "fg")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a pipeline that albumentations saved"),
        ("[" * 100_000, "cannot be read as a pipeline"),
        ("[]", 'expected {"transform": ...}, as A.save writes it'),
        ({"transform": {"p": 1}}, "holds a transform without __class_fullname__"),
        ({"transform": {"__class_fullname__": "os.system", "command": "x"}}, "'os.system' is no transform of albumen"),
        ({"transform": FLIP | {"__class_fullname__": "HorizontalFlop"}}, "did you mean 'HorizontalFlip'?"),
        (
            {
                "transform": {
                    "__class_fullname__": "Compose",
                    "transforms": [{"__class_fullname__": "subprocess.Popen"}],
                }
            },
            "'subprocess.Popen' is no transform",
        ),
        ({"transform": FLIP | {"angle": 3}}, "does not take it: .*angle"),
        ({"transform": FLIP | {"p": "often"}}, "does not take it: "),
    ],
)
def test_a_file_that_is_not_a_pipeline_is_refused_in_a_line(tmp_path, content, message):
    file = tmp_path / "augment.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(
        DataError, match=f"^{re.escape(str(file))}: .*{message if '.*' in message else re.escape(message)}"
    ) as caught:
        read_pipeline(file)
    assert "\n" not in str(caught.value)


def test_yaml_is_read_as_data_only(tmp_path):
    file = tmp_path / "augment.yaml"
    file.write_text("transform: !!python/object/apply:os.mkdir [made]")
    with pytest.raises(DataError, match="cannot be read as a pipeline"):
        read_pipeline(file)
    file.write_text(BOMB + "transform: *g\n")
    with pytest.raises(DataError, match=r'expected \{"transform"'):
        read_pipeline(file)
    file.write_text(BOMB + "transform: {__class_fullname__: HorizontalFlip, p: *g}\n")
    with pytest.raises(DataError, match="holds more than 10,000 values"):
        read_pipeline(file)
    file.write_text("x" * 1_000_001)
    with pytest.raises(DataError, match="is larger than 1,000,000 bytes"):
        read_pipeline(file)


def test_a_lambda_cannot_be_saved_among_the_knobs():
    with pytest.raises(DataError, match="augmentation: cannot be saved: "):
        saved_form(A.Compose([A.Lambda(image=unchanged)]))


def test_transforms_draw_independently_of_each_other():
    """With albumentations' own seeding both flips happened or neither, because both drew the same number."""
    sample = coloured(masks=False)
    augment = Augment(A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]), SIZE)
    kinds = [sample.image[::y, ::x] for y in (1, -1) for x in (1, -1)]
    seen = [[(kind == augment.augment(sample, seed).image).all() for kind in kinds].index(True) for seed in range(80)]
    assert np.bincount(seen, minlength=4).min() >= 8  # 20 of each are expected

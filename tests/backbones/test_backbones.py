"""Contracts that every backbone keeps; a new line in BACKBONES is tested without new test code."""

import functools
import gc

import keras
import numpy as np
import pytest
from support.backbones import PARAMETERS, Watch

from visionkit.backbones import BACKBONES
from visionkit.backbones.blocks import freeze, freeze_batch_norm, max_pool
from visionkit.layers.edge_padding import EdgePadding
from visionkit.models import MODELS
from visionkit.models.heads import HEADS

ODD = (67, 75)
# One of each builder: what depends on the code and not on the depth is tried on these.
KINDS = (
    *("softmax_regression", "mlp", "lenet", "alexnet", "vgg11", "vgg11_bn", "nin", "googlenet"),
    *("resnet18", "resnet50", "resnet20_cifar", "densenet121", "csp_nanodet", "efficientnet_lite0"),
    *("mobilenet_v2", "mobilenet_v3_small", "convnext_tiny"),
)
ALL = [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]


@functools.lru_cache(maxsize=1)  # conftest.py puts the tests of one backbone side by side
def built(name):
    gc.collect()  # the one before refers to itself
    return BACKBONES[name]()


def images(backbone, batch=1):
    """Random images float32 0..255 of an odd size, where the backbone takes any."""
    height, width, channels = backbone.input.shape[1:]
    size = (height or ODD[0], width or ODD[1])
    return np.random.default_rng(0).uniform(0, 255, (batch, *size, channels)).astype(np.float32)


def outputs(model, x, **options):
    return {name: keras.ops.convert_to_numpy(out) for name, out in model(x, **options).items()}


@pytest.mark.parametrize("name", ALL)
def test_the_name_is_the_models_and_the_first_layer_normalises(name):
    backbone = built(name)
    assert backbone.name == name
    assert backbone.layers[1].name == "normalize"


@pytest.mark.parametrize("name", ALL)
def test_level_n_has_stride_two_to_the_n(name):
    backbone = built(name)
    if backbone.input.shape[1] is not None:
        pytest.skip("dense layers fix its input")
    shape = (1, *ODD, 3)
    before = backbone.compute_output_shape(shape)
    assert before == {level: out.shape for level, out in outputs(backbone, images(backbone)).items()}
    for level in before:
        stride = 2 ** int(level[1:])
        after = backbone.compute_output_shape((1, ODD[0] + stride, ODD[1] + 2 * stride, 3))[level]
        assert (after[1] - before[level][1], after[2] - before[level][2]) == (1, 2), level
        # No level is cut short by more than its last cell.
        assert abs(before[level][1] - ODD[0] / stride) < 2
        assert abs(before[level][2] - ODD[1] / stride) < 2


@pytest.mark.parametrize("name", ALL)
def test_every_weight_gets_a_gradient(name):
    backbone = built(name)
    x = images(backbone, batch=3)
    model = MODELS["classifier"](backbone, 4, image_size=x.shape[1:3], head="pool")
    model.compile(optimizer=Watch(), run_eagerly=True)
    model.train_on_batch(x, {"label": np.array([0, 1, 3])})
    assert len(model.optimizer.seen) == len(model.trainable_weights)
    for path, gradient in model.optimizer.seen.items():
        assert gradient is not None, path
        gradient = keras.ops.convert_to_numpy(gradient)
        assert np.isfinite(gradient).all(), path
        if not path.endswith("bias"):  # a bias before a batch normalisation has none to speak of
            assert np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("name", KINDS)
def test_saved_and_loaded_it_answers_the_same(name, tmp_path):
    backbone = built(name)
    x = images(backbone)
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    for level, out in outputs(backbone, x).items():
        np.testing.assert_array_equal(out, outputs(loaded, x)[level])


@pytest.mark.parametrize("name", KINDS)
def test_it_runs_in_mixed_precision(name):
    reference = built(name)
    x = images(reference)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = BACKBONES[name]()
        model = MODELS["classifier"](backbone, 4, image_size=x.shape[1:3], head="pool")
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(x)["logits"]
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert np.isfinite(keras.ops.convert_to_numpy(logits)).all()
    if backbone.weights:
        assert {layer.compute_dtype for layer in backbone.layers if layer.weights} == {"bfloat16"}


@pytest.mark.parametrize("name", ["lenet", "mlp", "alexnet", "resnet18", "densenet121", "efficientnet_lite0"])
@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(name, channels):
    size = built(name).input.shape[1:3]
    backbone = BACKBONES[name](input_shape=(*size, channels))
    out = outputs(backbone, images(backbone))
    assert all(np.isfinite(values).all() for values in out.values())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_with_the_papers_head(name):
    backbone, (classes, parameters) = built(name), PARAMETERS[name]
    model = MODELS["classifier"](backbone, classes, image_size=images(backbone).shape[1:3])
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == parameters


def test_freezing_by_level():
    backbone = BACKBONES["resnet20_cifar"]()
    x = images(backbone, batch=2)
    freeze(backbone, "C1")
    assert not any(layer.trainable for layer in backbone.layers if layer.name.startswith(("conv1", "stage1", "stage2")))
    assert all(layer.trainable for layer in backbone.layers if layer.name.startswith("stage3"))
    frozen, trained = backbone.get_layer("stage2_block3_bn2"), backbone.get_layer("stage3_block1_bn1")
    before = [keras.ops.convert_to_numpy(layer.moving_mean) for layer in (frozen, trained)]
    backbone(x, training=True)
    after = [keras.ops.convert_to_numpy(layer.moving_mean) for layer in (frozen, trained)]
    np.testing.assert_array_equal(before[0], after[0])  # frozen: inference mode, its statistics stay
    assert np.abs(before[1] - after[1]).max() > 0
    freeze(backbone, None)
    assert all(layer.trainable for layer in backbone.layers)
    with pytest.raises(ValueError, match=r"no level 'C9'; it has \['C0', 'C1', 'C2'\]"):
        freeze(backbone, "C9")
    alexnet = BACKBONES["alexnet"]()
    freeze(alexnet, "C1")  # its first is C2
    assert all(layer.trainable for layer in alexnet.layers)


def test_frozen_batch_normalisation_answers_in_training_as_in_inference():
    backbone = BACKBONES["resnet20_cifar"]()
    x = images(backbone, batch=2)
    free = outputs(backbone, x, training=True)  # also gives the statistics other values than they start with
    freeze(backbone, "C0")
    freeze_batch_norm(backbone)
    weights = [keras.ops.convert_to_numpy(w) for w in backbone.weights]
    inference, training = outputs(backbone, x), outputs(backbone, x, training=True)
    for level, out in inference.items():
        np.testing.assert_array_equal(out, training[level])
        assert np.abs(out - free[level]).max() > 1e-3
    for before, after in zip(weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(after))
    trained = {w.path.split("/")[-2] for w in backbone.trainable_weights}
    assert trained and all("conv" in name or "downsample" in name for name in trained), trained
    assert not any(name.startswith("conv1") for name in trained)  # what `freeze` froze stays frozen


@pytest.mark.parametrize("size", [6, 7, 8, 9])
def test_pooling_hangs_over_the_edge_in_ceil_mode(size):
    x = np.arange(1, size + 1, dtype=np.float32).reshape(1, size, 1, 1).repeat(size, axis=2)
    out = keras.ops.convert_to_numpy(max_pool(x, 3, 2, ceil=True, name="pool"))[0, :, 0, 0]
    # torch: ceil((size - 3) / 2) + 1 windows, the last one cut at the edge
    np.testing.assert_array_equal(out, [min(i + 3, size) for i in range(0, 2 * -(-(size - 3) // 2) + 1, 2)])


def test_pooling_where_values_are_negative_sees_no_padding():
    x = np.arange(-49, 0, dtype=np.float32).reshape(1, 7, 7, 1)
    out = keras.ops.convert_to_numpy(keras.layers.MaxPooling2D(3, 2)(EdgePadding()(x)))[0, ..., 0]
    last = [1, 3, 5, 6]  # row and column of a window's greatest value: torch's windows begin at -1, 1, 3, 5
    np.testing.assert_array_equal(out, x[0, :, :, 0][np.ix_(last, last)])


def test_each_dense_layer_of_a_head_draws_its_own_first_weights():
    inputs = keras.Input((1, 1, 2))
    drawn = kernels(keras.Model(inputs, HEADS["vgg16"](inputs, 5)))
    assert len(drawn) == 3 and len({tuple(kernel.ravel()[:20]) for kernel in drawn}) == 3


def kernels(model):
    return [keras.ops.convert_to_numpy(v) for v in model.trainable_weights if len(v.shape) > 1 and np.ptp(v) > 0]


@pytest.mark.parametrize("name", ALL)
def test_each_layer_draws_its_own_first_weights(name):
    """A Keras initializer that two layers share draws the same for both."""
    beginnings = [tuple(kernel.ravel()[:20]) for kernel in kernels(built(name))]
    assert len(set(beginnings)) == len(beginnings)


@pytest.mark.parametrize("name", ["resnet20_cifar", "efficientnet_lite0", "googlenet"])
def test_the_seed_says_what_the_first_weights_are(name):
    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        drawn.append(kernels(BACKBONES[name]()))
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True))

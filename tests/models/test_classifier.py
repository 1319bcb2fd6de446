"""The classifier: its loss, its heads, and that it learns, is served, saved and loaded."""

import keras
import numpy as np
import pytest

from visionkit.backbones import BACKBONES
from visionkit.models import MODELS

Classifier = MODELS["classifier"]
SIZE = (32, 40)


def tiny(name="resnet20_cifar", classes=3, **options):
    return Classifier(BACKBONES[name](), classes, image_size=options.pop("image_size", SIZE), **options)


def random_images(count, size=SIZE, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *size, 3)).astype(np.float32)


def test_the_loss_by_hand():
    model = tiny(classes=2, label_smoothing=0.2)
    logits = np.array([[0.0, np.log(3)], [0.0, 0.0]], np.float32)  # probabilities 1/4 3/4; 1/2 1/2
    # smoothed targets 0.1 0.9: -(0.1 log 1/4 + 0.9 log 3/4) = 0.39754; log 2 = 0.69315
    loss = model.compute_loss(y={"label": np.array([1, 0])}, y_pred={"logits": logits})
    assert float(loss) == pytest.approx((0.39754 + 0.69315) / 2, abs=1e-5)
    assert float(model.accuracy.result()) == 1.0  # of equal logits argmax takes the first
    weighted = model.compute_loss(
        y={"label": np.array([1, 0])}, y_pred={"logits": logits}, sample_weight=np.array([2, 0])
    )
    assert float(weighted) == pytest.approx(0.39754, abs=1e-5)


def test_class_probabilities_are_labels_too():
    model = tiny(classes=3)
    logits = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    ids = model.compute_loss(y={"label": np.array([2, 0])}, y_pred={"logits": logits})
    same = model.compute_loss(y={"label": np.eye(3, dtype=np.float32)[[2, 0]]}, y_pred={"logits": logits})
    assert float(ids) == pytest.approx(float(same), abs=1e-6)


def test_it_learns_three_pictures_by_heart_and_survives_saving(tmp_path):
    keras.utils.set_random_seed(0)
    backbone = BACKBONES["mlp"]((*SIZE, 3), widths=(16,), activation="tanh")
    model = Classifier(backbone, 3, class_names=("a", "b", "c"), image_size=SIZE)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    x, y = random_images(3), np.array([0, 1, 2])
    history = model.fit(x, {"label": y}, batch_size=3, epochs=60, verbose=0).history
    assert history["accuracy"][-1] == 1.0
    scores = np.asarray(model.serving()(x)["scores"])
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.class_names, loaded.image_size) == (["a", "b", "c"], SIZE)
    np.testing.assert_array_equal(np.asarray(loaded.serving()(x)["scores"]), scores)


def test_auxiliary_classifiers_are_trained_and_not_served():
    backbone = BACKBONES["googlenet"](auxiliary=True)
    model = Classifier(backbone, 4, image_size=(64, 64))
    x = random_images(2, (64, 64))
    outputs = model(x)
    assert {name: tuple(out.shape) for name, out in outputs.items()} == dict.fromkeys(
        ("logits", "aux1", "aux2"), (2, 4)
    )
    one = {"logits": np.zeros((1, 4), np.float32)}
    three = {**one, "aux1": one["logits"], "aux2": one["logits"]}
    y = {"label": np.array([1])}
    assert float(model.compute_loss(y=y, y_pred=three)) == pytest.approx(np.log(4) * 1.6, abs=1e-5)
    assert float(model.compute_loss(y=y, y_pred=three, training=False)) == pytest.approx(np.log(4), abs=1e-5)
    assert list(model.serving()(x)) == ["scores"]


@pytest.mark.parametrize(
    "name, size",
    [
        *(("nin", (67, 80)), ("alexnet", (63, 100))),
        pytest.param("vgg11", (40, 33), marks=pytest.mark.slow),  # 1.3 GB, and the head is made as AlexNet's
    ],
)
def test_the_papers_head_takes_any_size(name, size):
    model = tiny(name, classes=5, image_size=size)
    scores = np.asarray(model.serving()(random_images(2, size))["scores"])
    assert scores.shape == (2, 5)
    assert np.isfinite(scores).all()


def test_class_weights_must_fit():
    with pytest.raises(ValueError, match="3 classes but 1 class weights"):
        tiny(classes=3, class_weights=[5.0])


def test_a_head_of_another_name_is_refused():
    with pytest.raises(ValueError, match="head must be 'paper' or 'pool', not 'dense'"):
        tiny(head="dense")

"""Whatever the network of a Task computes of an image, as a vector: read, resized and batched like all predictions."""

from collections.abc import Callable
from typing import Any

from visionkit.predict.predictor import Predictor
from visionkit.types import Tensor


class AsVectors:
    """A Task in the form of a classifier, whose scores are values that are computed in its graph.

    `Predictor(AsVectors(...))` gives a Classification for each image, with the values as its `scores`.

    Args:
        model: a Task.
        values: makes `[B, D]` of the Task and the keras Model that its `serving` returned.
    """

    task, class_names = "classify", ()

    def __init__(self, model: Any, values: Callable[[Any, Any], Tensor]):
        self.model, self.values = model, values
        self.image_size, self.resize, self.channels = model.image_size, model.resize, model.channels
        self.any_size = model.any_size

    def for_size(self, image_size: tuple[int, int]) -> "AsVectors":
        """The same at another size; see `Task.for_size`."""
        return AsVectors(self.model.for_size(image_size), self.values)

    def serving(self) -> Any:
        """A keras Model from images to the values."""
        import keras  # only here, so that exports run without it

        serving = self.model.serving()
        return keras.Model(serving.input, {"scores": self.values(self.model, serving)})


def vectors(predictor: Predictor, values: Callable[[Any, Any], Tensor]) -> Predictor:
    """A predictor of `values`, see `AsVectors`, in batches like those of `predictor`."""
    return Predictor(AsVectors(predictor.model, values), batch_size=predictor.batch_size)

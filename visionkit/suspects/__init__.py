"""Finds the labels that are probably wrong, by what a model that has not learned from them says of the images.

The package can be called: `vk.suspects(predictor, dataset)` is `visionkit.suspects.find.suspects`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.suspects.find", "suspects")

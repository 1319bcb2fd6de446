"""Chooses the photos that are worth labelling next: those about which a model is unsure, and which differ.

The package can be called: `vk.next_photos(predictor, photos)` is `visionkit.next_photos.find.next_photos`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.next_photos.find", "next_photos")

"""Makes scores mean what they say: of the detections with a score of 0.8, eight in ten are then right.

The package can be called: `vk.calibrate(model, dataset)` is `visionkit.calibrate.find.calibrate`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.calibrate.find", "calibrate")

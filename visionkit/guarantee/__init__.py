"""Thresholds that come with a promise: how much a model misses at most on average, or falsely finds, at what price.

The package can be called: `vk.guarantee(predictor, dataset, miss=0.1)` is `visionkit.guarantee.calibrate.guarantee`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.guarantee.calibrate", "guarantee")

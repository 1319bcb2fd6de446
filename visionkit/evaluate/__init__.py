"""Evaluates a model on labelled data: its scores, its mistakes, and what its learning curves show.

The package can be called: `vk.evaluate(predictor, dataset)` is `visionkit.evaluate.scores.evaluate`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.evaluate.scores", "evaluate")

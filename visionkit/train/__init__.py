"""Training a recipe: the run folder, checkpoints, resuming, and several devices.

The package can be called: `vk.train(recipe_function, knobs, out)` is `visionkit.train.run.run`.
"""

from visionkit.callable_package import stands_for

stands_for(__name__, "visionkit.train.run", "run")

"""The built-in recipes behind `visionkit finetune`, by task.

Each fine-tunes a pretrained backbone on the user's data, with defaults that work. Like the files in configs/, and
unlike the rest of the package, they bring a backbone, a model and data together.
"""

from visionkit.recipes.classify import classify
from visionkit.recipes.detect import detect
from visionkit.recipes.instance import instance
from visionkit.recipes.keypoints import keypoints
from visionkit.recipes.segment import segment

RECIPES = {"detect": detect, "instance": instance, "keypoints": keypoints, "classify": classify, "segment": segment}

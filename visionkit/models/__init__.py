"""The task models, by name."""

from visionkit.models.classifier import Classifier
from visionkit.models.ssd import SSD

MODELS = {"classifier": Classifier, "ssd": SSD}

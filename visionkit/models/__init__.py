"""The task models, by name."""

from visionkit.models.ssd import SSD

MODELS = {"ssd": SSD}

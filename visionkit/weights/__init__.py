"""Published weights: `CARDS` says which there are, `load_weights` puts them into a model."""

from visionkit.weights.cards import CARDS, Card
from visionkit.weights.load import load_weights

__all__ = ["CARDS", "Card", "load_weights"]

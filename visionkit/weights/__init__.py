"""Published weights: cards that describe them, a store that finds them, a loader that puts them into a model."""

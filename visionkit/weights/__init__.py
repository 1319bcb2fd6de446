"""Published weights: cards that describe them, a store that finds them and a loader that assigns them to a model."""

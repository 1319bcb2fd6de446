"""Tries out what can go wrong with a training before hours are spent on it."""

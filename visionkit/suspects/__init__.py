"""Finds the labels that are probably wrong, by what a model that has not learned from them says of the images."""

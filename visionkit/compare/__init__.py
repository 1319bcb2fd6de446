"""Compares models on the same images: which is better, by how much, and whether chance could have done it."""

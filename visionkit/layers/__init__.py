"""Keras layers that wrap the functions of `visionkit.ops` so that they can stand in a functional graph."""

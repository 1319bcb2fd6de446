"""Evaluates a model on labelled data: its scores, its mistakes, and what its learning curves show."""

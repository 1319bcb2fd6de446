"""Scores from predictions and ground truth: NumPy arrays in, numbers out."""

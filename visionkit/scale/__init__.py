"""Predictions for more images than one machine can hold: over object storage, resumable, on Ray or without it."""

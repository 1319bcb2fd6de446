"""Training a recipe: the run folder, checkpoints, resuming, and several devices."""

"""Experiments of several trainings: learning rate, seeds, folds and the search for good knobs."""

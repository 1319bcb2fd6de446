"""A model on a labelled data set: its scores, its mistakes, and what the curves of its training say."""

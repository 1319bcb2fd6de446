"""One page about a run: how good it is, where it fails, what to do next."""

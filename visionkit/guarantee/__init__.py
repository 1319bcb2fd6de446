"""Thresholds that come with a promise: how many objects a detector misses at most, on average, and at what price."""

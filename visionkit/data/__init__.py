"""Data sets: readers that turn files into Samples, augmentation, batches, and writers."""

"""What can go wrong with a training, tried before the hours are spent."""

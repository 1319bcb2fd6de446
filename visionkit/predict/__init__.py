"""A trained model on images, folders and videos: predictions, pictures and result files."""

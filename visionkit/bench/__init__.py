"""How fast models are in any runtime: alone, and from image files to written results."""

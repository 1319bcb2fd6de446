"""How fast models are, in whichever runtime: alone, and from image files to written results."""

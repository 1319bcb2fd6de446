"""Neural style transfer: the losses, the optimisation of one picture, and networks that paint in one pass."""

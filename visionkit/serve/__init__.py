"""A model behind HTTP: POST an image, get JSON; and a page to try it with a browser."""

"""The one way from a file to the image that a model sees and a browser shows."""

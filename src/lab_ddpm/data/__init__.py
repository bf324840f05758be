"""Data sets of images and labels, and the stream of samples for training."""

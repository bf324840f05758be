"""Data sets as images and labels, and the stream of samples for training."""

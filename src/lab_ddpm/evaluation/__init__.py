"""Classifiers that read labels off images, scores with their intervals, and distances between sets of images."""

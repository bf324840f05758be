"""Classifiers that read labels from images, scores with intervals, and distances between sets of images."""

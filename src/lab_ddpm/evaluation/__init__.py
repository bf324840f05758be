"""What images are worth: the classifiers that read labels off them, scores with intervals, distances of sets."""

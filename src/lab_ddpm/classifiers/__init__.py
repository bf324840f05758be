"""The classifiers that read the labels off a picture: networks, recipes, training."""

"""The replica of the i-CLEVR pictures: scenes, renderer, the folder on disk, the check against the facts."""

"""The replica of the i-CLEVR images: scenes, renderer, the folder on disk, the check against the facts."""

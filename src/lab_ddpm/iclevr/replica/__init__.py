"""The replica of the i-CLEVR images: scenes, renderer, and the folder on disk."""

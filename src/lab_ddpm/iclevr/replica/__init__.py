"""The replica of the i-CLEVR images: its scenes, its renderer, and its folder on disk."""

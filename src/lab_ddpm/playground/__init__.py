"""A page in the browser to ask a pipeline for images."""

"""Images with words beside them, and charts."""

"""Pictures with words beside them, and charts."""

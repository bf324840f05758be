"""i-CLEVR: the condition lists, the rendered replica, the official files."""

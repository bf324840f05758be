"""A page in the browser that generates the images that you choose."""

"""A web page that generates the images that you choose."""

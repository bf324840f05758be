"""A pipeline at work: many conditions and seeds, one seed per image; walks between two images."""

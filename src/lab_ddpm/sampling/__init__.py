"""A pipeline at work: many conditions and seeds, one seed per picture; walks between two pictures."""

"""Measurements of models and of this package: what is compared, seen, confused, placed; how fast, and how lasting."""

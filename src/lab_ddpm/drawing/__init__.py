"""Figures and charts: images with captions, curves, scores by object."""

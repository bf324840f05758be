"""Figures and charts: images with captions, curves, bars."""

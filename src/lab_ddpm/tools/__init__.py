"""Helpers for all other packages: errors, files, weights, signals, worker processes, hardware."""

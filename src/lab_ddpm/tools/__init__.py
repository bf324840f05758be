"""Helpers for all other packages: errors, files, arguments, signals, worker processes, YAML presets."""

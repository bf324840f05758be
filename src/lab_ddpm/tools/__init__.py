"""What the rest stands on: errors, files, locks, signals, YAML presets."""

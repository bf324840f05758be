"""What the rest stands on: errors, files, arguments, signals, worker processes, YAML presets."""

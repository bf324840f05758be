"""The commands: a module for each, of the same name as its script, from plain arguments to files."""

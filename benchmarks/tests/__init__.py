"""A package, so that its conftest.py is not the one of the project's tests under another path."""

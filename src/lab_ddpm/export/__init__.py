"""Pipelines as folders for the Hugging Face Hub."""

"""Small, label-conditional diffusion models on diffusers and Accelerate."""

__version__ = "0.1.0"

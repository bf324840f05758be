"""The training of a diffusion model: the loop, its checkpoints, its validation, its folder."""

"""The theory: noise levels, the denoiser and its loss, samplers, and the pipeline from labels to images."""

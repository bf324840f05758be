"""The theory: noise levels, the denoiser and its loss, samplers, the pipeline from labels to images."""

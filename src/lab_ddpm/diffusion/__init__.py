"""The theory: noise levels, the denoiser and its loss, samplers, and the pipeline from labels to images.

With a layout: `placer` -> `places` -> `outlines` -> `place_map` -> UNet; the `layout` is denoised along with the image.
"""

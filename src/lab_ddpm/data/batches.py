"""The images and the random numbers of each training step.

Training reads one stream of samples. Each epoch is a new permutation of all images. The stream is cut into batches that
are always full. Sample number `position` of the stream gets its noise and its other random numbers from a generator
with the seed (seed, position). So all random numbers of a training depend only on the seed and the position: resuming
needs no saved generator, and the stream is the same for any number of processes, accumulation steps or data-loading
workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.data.images import to_tensor
from lab_ddpm.tools.errors import UserError

# The first word of a generator's seed. It keeps the generators of permutations and of samples apart.
_ORDER, _SAMPLE = 0, 1


class Batch(TypedDict):
    """B training samples. A single sample has the same tensors without the first dimension."""

    clean_images: torch.Tensor  # (B, C, H, W) float32 in [-1, 1]
    masks: torch.Tensor  # (B, 1, H, W) uint8, see `ImageDataset`; (B, 0) for images that were opened without masks
    class_labels: torch.Tensor  # (B, num_labels) multi-hot
    noise: torch.Tensor  # (B, *space.shape) standard normal
    uniforms: torch.Tensor  # (B, 5) in [0, 1): for timestep, dropping labels, dropping layout and places, window (2)
    place_uniforms: torch.Tensor  # (B, 3 num_labels + 2) in [0, 1): for the placer, moving places, and who teaches it


def check_batch_size(batch_size: int, num_images: int) -> None:
    """Raise `UserError` if there are fewer images than a batch has."""
    if batch_size > num_images:
        raise UserError(f"`batch_size` must be at most {num_images}, the number of images, got {batch_size}")


class StreamSampler(Sampler[list[tuple[int, int]]]):
    """Yields the batches of the stream as lists of (position, image index).

    Args:
        num_images: N. Each of them occurs once in an epoch.
        batch_size: Samples in a batch, over all processes.
        seed: Seed of the permutations.
        first_batch, last_batch: Yield the batches [first_batch, last_batch) of the stream.

    Raises:
        UserError: There are fewer images than a batch has.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, first_batch: int, last_batch: int) -> None:
        check_batch_size(batch_size, num_images)
        self.num_images = num_images
        self.batch_size = batch_size  # accelerate looks for these two names in a batch sampler
        self.drop_last = False
        self.seed = seed
        self.batches = range(first_batch, last_batch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for batch in self.batches:
            samples = []
            for position in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                if position // self.num_images != epoch:
                    epoch = position // self.num_images
                    order = np.random.default_rng((_ORDER, self.seed, epoch)).permutation(self.num_images)
                samples.append((position, int(order[position % self.num_images])))
            yield samples


class StreamDataset(Dataset[Batch]):
    """Makes the sample for a (position, image index) of the stream.

    Args:
        dataset: The images and labels.
        seed: Seed of the noise and of the other random numbers.
        noise_shape: `SampleSpace.shape` of the model.
        random_flip: Whether half of the images are mirrored, left to right.
    """

    def __init__(self, dataset: ImageDataset, seed: int, noise_shape: Sequence[int], random_flip: bool = False) -> None:
        self.dataset = dataset
        self.seed = seed
        self.noise_shape = tuple(noise_shape)
        self.random_flip = random_flip

    def __getitem__(self, sample: tuple[int, int]) -> Batch:
        position, index = sample
        dataset = self.dataset
        clean_images = to_tensor(dataset.images[index])
        masks = np.empty(0, np.uint8) if dataset.masks is None else np.moveaxis(dataset.masks[index], -1, 0)
        # torch draws normal numbers three times as fast as numpy, and its CPU generator takes a seed of 32 bits
        seed = int(np.random.SeedSequence((_SAMPLE, self.seed, position)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        label_dropout, timestep, flip, layout_dropout = torch.rand(4, generator=generator)
        noise = torch.randn(self.noise_shape, generator=generator)
        window = torch.rand(2, generator=generator)
        place_uniforms = torch.rand(3 * len(dataset.labels) + 2, generator=generator)
        if self.random_flip and flip < 0.5:
            clean_images, masks = clean_images.flip(-1), np.flip(masks, -1)
        return Batch(
            clean_images=clean_images,
            masks=torch.from_numpy(masks.copy()),  # torch warns about read-only arrays
            class_labels=dataset.class_labels[index],
            noise=noise,
            uniforms=torch.stack([timestep, label_dropout, layout_dropout, *window]),
            place_uniforms=place_uniforms,
        )

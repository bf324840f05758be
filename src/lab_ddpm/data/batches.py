"""Which pictures a training step sees, and with which random numbers.

Training is one stream of samples: epoch after epoch, each a fresh permutation of all pictures, cut into batches
that are always full. Sample number `position` of the stream gets its noise, and the numbers that decide its timestep
and whether its labels are dropped, from a random generator seeded by (seed, position). So everything random about
training is a function of the seed and the position: nothing has to be saved to resume, and the stream does not depend
on how many processes, accumulation steps or data-loading workers share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from lab_ddpm.data.images import to_tensor
from lab_ddpm.data.picture_cache import PictureDataset

# The first word of a generator's seed, which keeps permutations and samples apart.
_ORDER, _SAMPLE = 0, 1


class Sample(TypedDict):
    """One training sample; a batch of them has a leading dimension."""

    clean_images: torch.Tensor  # (C, H, W) float32 in [-1, 1]
    class_labels: torch.Tensor  # (num_labels,) multi-hot
    noise: torch.Tensor  # standard normal, of the shape of the model's samples
    uniforms: torch.Tensor  # (2,) in [0, 1): decide the timestep, and whether the labels are dropped


class StreamSampler(Sampler[list[tuple[int, int]]]):
    """Yields the batches of the stream as lists of (position, picture index).

    Args:
        num_pictures: Pictures in the data set.
        batch_size: Samples in a batch, over all processes.
        seed: Seed of the permutations.
        first_batch, last_batch: The batches [first, last) of the stream to yield.
    """

    def __init__(self, num_pictures: int, batch_size: int, seed: int, first_batch: int, last_batch: int) -> None:
        self.num_pictures = num_pictures
        self.batch_size = batch_size  # these two names are what accelerate looks for in a batch sampler
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
                if position // self.num_pictures != epoch:
                    epoch = position // self.num_pictures
                    order = np.random.default_rng((_ORDER, self.seed, epoch)).permutation(self.num_pictures)
                samples.append((position, int(order[position % self.num_pictures])))
            yield samples


class StreamDataset(Dataset[Sample]):
    """Looks up a (position, picture index) of the stream.

    Args:
        dataset: The pictures and labels.
        seed: Seed of the noise and of all that is decided for a sample.
        noise_shape: `Denoiser.sample_shape`.
        random_flip: Whether half of the pictures are mirrored, left and right.
    """

    def __init__(
        self, dataset: PictureDataset, seed: int, noise_shape: Sequence[int], random_flip: bool = False
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.noise_shape = tuple(noise_shape)
        self.random_flip = random_flip

    def __getitem__(self, sample: tuple[int, int]) -> Sample:
        position, index = sample
        clean_images = to_tensor(self.dataset.pictures[index])
        # torch's normal numbers cost a third of numpy's; its CPU generator takes 32 bits of a seed
        seed = int(np.random.SeedSequence((_SAMPLE, self.seed, position)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        dropout, timestep, flip = torch.rand(3, generator=generator)
        noise = torch.randn(self.noise_shape, generator=generator)
        if self.random_flip and flip < 0.5:
            clean_images = clean_images.flip(-1)
        return Sample(
            clean_images=clean_images,
            class_labels=self.dataset.class_labels[index],
            noise=noise,
            uniforms=torch.stack([timestep, dropout]),
        )

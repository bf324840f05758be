"""The images and the random numbers of each training step.

Training reads one stream of samples. Each epoch is a new permutation of all images, or as many images drawn with
weights. The stream is cut into batches that are always full. Sample number `position` of the stream gets its noise and
its other random numbers from a generator with the seed (seed, position). So all random numbers of a training depend
only on the seed and the position: resuming needs no saved generator, and the stream is the same for any number of
processes, accumulation steps or data-loading workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
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
    uniforms: torch.Tensor  # (B, 5) in [0, 1): for timestep, dropping labels, dropping the layout, window (2)


class StreamSampler(Sampler[list[tuple[int, int]]]):
    """Yields the batches of the stream as lists of (position, image index).

    Args:
        weights: (N,) how often each image is drawn, relative to the others.
        batch_size: Samples in a batch, over all processes.
        seed: Seed of the permutations.
        first_batch, last_batch: Yield the batches [first_batch, last_batch) of the stream.

    Raises:
        UserError: There are fewer images than a batch has.
    """

    def __init__(
        self, weights: NDArray[np.float64], batch_size: int, seed: int, first_batch: int, last_batch: int
    ) -> None:
        if batch_size > len(weights):
            raise UserError(f"`batch_size` must be at most {len(weights)}, the number of images, got {batch_size}")
        self.weights = weights / weights.sum()
        self.batch_size = batch_size  # accelerate looks for these two names in a batch sampler
        self.drop_last = False
        self.seed = seed
        self.batches = range(first_batch, last_batch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order, num_images = -1, np.empty(0, dtype=np.int64), len(self.weights)
        for batch in self.batches:
            samples = []
            for position in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                if position // num_images != epoch:
                    epoch = position // num_images
                    order = self._order(epoch)
                samples.append((position, int(order[position % num_images])))
            yield samples

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The N images of an epoch, in order. With equal weights, each image occurs once."""
        random = np.random.default_rng((_ORDER, self.seed, epoch))
        order = random.permutation(len(self.weights))
        if (self.weights == self.weights[0]).all():
            return order
        # systematic sampling: each image occurs as often as its weight says, rounded up or down
        ends = np.cumsum(self.weights[order])
        ticks = (np.arange(len(order)) + random.random()) / len(order)
        drawn = order[np.searchsorted(ends, ticks * ends[-1])]
        return random.permutation(drawn)


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
        if self.random_flip and flip < 0.5:
            clean_images, masks = clean_images.flip(-1), np.flip(masks, -1)
        return Batch(
            clean_images=clean_images,
            masks=torch.from_numpy(masks.copy()),  # torch warns about read-only arrays
            class_labels=dataset.class_labels[index],
            noise=noise,
            uniforms=torch.stack([timestep, label_dropout, layout_dropout, *window]),
        )


def image_weights(
    dataset: ImageDataset, count_weights: Sequence[float], repeated_colour_weight: float
) -> NDArray[np.float64]:
    """(N,) how often each image is drawn, relative to the others.

    Args:
        dataset: The images and labels.
        count_weights: The weights of images with 1, 2, ... labels; empty for equal weights.
        repeated_colour_weight: Factor for images with two labels that begin with the same word ("red cube", "red
            sphere").

    Raises:
        UserError: There is no weight for the number of labels of an image.
    """
    weights, class_labels = np.ones(len(dataset)), dataset.class_labels
    if count_weights:
        counts = class_labels.sum(dim=1).long().numpy()
        check_count_weights(count_weights, int(counts.min()), int(counts.max()))
        weights = np.asarray(count_weights, dtype=np.float64)[counts - 1]
    if repeated_colour_weight == 1:
        return weights
    first_words = [label.partition(" ")[0] for label in dataset.labels]
    for word in set(first_words):
        begins = torch.tensor([first == word for first in first_words])
        weights[(class_labels[:, begins].sum(dim=1) > 1).numpy()] *= repeated_colour_weight
    return weights


def check_count_weights(count_weights: Sequence[float], fewest: int, most: int) -> None:
    """Raise `UserError` unless there is a weight for each number of labels from `fewest` to `most`, or no weight."""
    if count_weights and not 1 <= fewest <= most <= len(count_weights):
        raise UserError(
            f"`count_weights` must have one weight for each number of labels, 1 to {most}, got {list(count_weights)}"
        )

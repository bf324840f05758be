"""Which images a training step sees, and with which random numbers.

Training is one stream of samples: epoch after epoch, each a fresh permutation of all images (or of as many, drawn
with weights), cut into batches that are always full. Sample number `position` of the stream gets its noise, and the
numbers that decide its timestep, whether its labels and its layout are dropped and which window of it is looked at
closely, from a random generator seeded by (seed, position). So everything random about training is a function of the
seed and the position: nothing has to be saved to resume, and the stream does not depend on how many processes,
accumulation steps or data-loading workers share it.
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

# The first word of a generator's seed, which keeps permutations and samples apart.
_ORDER, _SAMPLE = 0, 1


class Sample(TypedDict):
    """One training sample; a batch of them has a leading dimension."""

    clean_images: torch.Tensor  # (C, H, W) float32 in [-1, 1]
    masks: torch.Tensor  # (1, H, W) uint8, see `ImageDataset`; (0,) for images that were opened without
    class_labels: torch.Tensor  # (num_labels,) multi-hot
    noise: torch.Tensor  # standard normal, of the shape of the model's samples
    uniforms: torch.Tensor  # (5,) in [0, 1): decide the timestep, whether labels and layout are dropped, and a window


class StreamSampler(Sampler[list[tuple[int, int]]]):
    """Yields the batches of the stream as lists of (position, image index).

    Args:
        weights: (N,) How often each image of the data set is drawn, in proportion to the others.
        batch_size: Samples in a batch, over all processes.
        seed: Seed of the permutations.
        first_batch, last_batch: The batches [first, last) of the stream to yield.
    """

    def __init__(
        self, weights: NDArray[np.float64], batch_size: int, seed: int, first_batch: int, last_batch: int
    ) -> None:
        self.weights = weights / weights.sum()
        self.batch_size = batch_size  # these two names are what accelerate looks for in a batch sampler
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
        """The N images of an epoch; with equal weights each comes once."""
        random = np.random.default_rng((_ORDER, self.seed, epoch))
        order = random.permutation(len(self.weights))
        if (self.weights == self.weights[0]).all():
            return order
        # systematic sampling: each comes as often as its weight says, rounded up or down
        ends = np.cumsum(self.weights[order])
        ticks = (np.arange(len(order)) + random.random()) / len(order)
        drawn = order[np.searchsorted(ends, ticks * ends[-1])]
        return random.permutation(drawn)


def image_weights(dataset: ImageDataset, by_count: Sequence[float], same_first_word: float) -> NDArray[np.float64]:
    """(N,) weights of the images, which say how often each is drawn.

    Args:
        dataset: The images and labels.
        by_count: By the number of labels: `by_count[0]` is that of images with one, and so on; empty for 1.
        same_first_word: Times this, where two labels of an image begin with the same word ("red cube, red sphere").

    Raises:
        UserError: An image has a number of labels that has no weight.
    """
    weights, class_labels = np.ones(len(dataset)), dataset.class_labels
    if by_count:
        counts = class_labels.sum(dim=1).long().numpy()
        check_count_weights(by_count, int(counts.min()), int(counts.max()))
        weights = np.asarray(by_count, dtype=np.float64)[counts - 1]
    if same_first_word == 1:
        return weights
    first_words = [label.partition(" ")[0] for label in dataset.labels]
    for word in set(first_words):
        begins = torch.tensor([first == word for first in first_words])
        weights[(class_labels[:, begins].sum(dim=1) > 1).numpy()] *= same_first_word
    return weights


def check_count_weights(by_count: Sequence[float], fewest: int, most: int) -> None:
    """Raise `UserError` unless images of `fewest` to `most` labels have weights each, or none has one."""
    if by_count and not 1 <= fewest <= most <= len(by_count):
        raise UserError(
            f"`data.count_weights` must have one for each number of labels, 1 to {most}, got {list(by_count)}"
        )


class StreamDataset(Dataset[Sample]):
    """Looks up a (position, image index) of the stream.

    Args:
        dataset: The images and labels.
        seed: Seed of the noise and of all that is decided for a sample.
        noise_shape: `SampleSpace.shape` of the model.
        random_flip: Whether half of the images are mirrored, left and right.
    """

    def __init__(self, dataset: ImageDataset, seed: int, noise_shape: Sequence[int], random_flip: bool = False) -> None:
        self.dataset = dataset
        self.seed = seed
        self.noise_shape = tuple(noise_shape)
        self.random_flip = random_flip

    def __getitem__(self, sample: tuple[int, int]) -> Sample:
        position, index = sample
        dataset = self.dataset
        clean_images = to_tensor(dataset.images[index])
        masks = np.empty(0, np.uint8) if dataset.masks is None else np.moveaxis(dataset.masks[index], -1, 0)
        # torch's normal numbers cost a third of numpy's; its CPU generator takes 32 bits of a seed
        seed = int(np.random.SeedSequence((_SAMPLE, self.seed, position)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        label_dropout, timestep, flip, layout_dropout = torch.rand(4, generator=generator)
        noise = torch.randn(self.noise_shape, generator=generator)
        window = torch.rand(2, generator=generator)  # last, for a model without a detailer takes no notice
        if self.random_flip and flip < 0.5:
            clean_images, masks = clean_images.flip(-1), np.flip(masks, -1)
        return Sample(
            clean_images=clean_images,
            masks=torch.from_numpy(masks.copy()),  # a read-only one would be a warning
            class_labels=dataset.class_labels[index],
            noise=noise,
            uniforms=torch.stack([timestep, label_dropout, layout_dropout, *window]),
        )

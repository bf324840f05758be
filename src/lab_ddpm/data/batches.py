"""The images and the random numbers of each training step.

Training reads one stream of samples. Each epoch is a new permutation of all images. The stream is cut into batches that
are always full. Sample number `position` of the stream gets its noise and its other random numbers from a generator
that is a function of the seed and the position (`random_numbers`). So all random numbers of a training depend only on
these two: resuming needs no saved generator, and the stream is the same for any number of processes, accumulation steps
or data-loading workers.

A GPU never waits for a batch. The processes that load data hand over bytes; on the device they become numbers, and the
random numbers are made there. If all images fit on the device, they are copied there once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from lab_ddpm.data.augmentation import NUM_UNIFORMS, augment
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import Images
from lab_ddpm.data.random_numbers import random_words, to_normal, to_uniform
from lab_ddpm.tools.errors import UserError

# the columns of `Batch.uniforms`: for the timestep, for dropping the labels, for dropping the layout and the places,
# and for the window of the detailer
FOR_TIMESTEP, FOR_LABELS, FOR_LAYOUT, FOR_WINDOW = 0, 1, 2, slice(3, 5)
NUM_BATCH_UNIFORMS = 5
_ORDER = 0  # the first word of the seed of a permutation
_SHARE_OF_GPU = 0.1  # of the free memory of a GPU, which the images may take


class Batch(TypedDict):
    """B training samples that follow each other in the stream, on one device."""

    positions: torch.Tensor  # (B,) int64: their positions in the stream
    clean_images: torch.Tensor  # (B, C, H, W) float32 in [-1, 1]
    masks: torch.Tensor  # (B, 1, 2 H, 2 W) uint8, see `ImageDataset`; (B, 0) for images that were opened without masks
    class_labels: torch.Tensor  # (B, num_labels) multi-hot
    augment_labels: torch.Tensor  # (B, NUM_AUGMENT_LABELS), see `augmentation`; (B, 0) if there is none
    most_labels: int  # that any image of the data set has
    noise: torch.Tensor  # (B, *space.shape) standard normal
    uniforms: torch.Tensor  # (B, NUM_BATCH_UNIFORMS) in [0, 1), in the columns FOR_TIMESTEP and so on
    place_uniforms: torch.Tensor  # (B, num_labels + 1) in [0, 1), for the placer


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


class StreamDataset(Dataset[tuple[object, ...]]):
    """The samples that processes load: (position, image index), and unless the device holds the images, their bytes.

    Args:
        dataset: The images and labels.
        with_images: Whether to load the image, its mask and its labels too.
    """

    def __init__(self, dataset: ImageDataset, with_images: bool) -> None:
        self.dataset, self.with_images = dataset, with_images

    def __getitem__(self, sample: tuple[int, int]) -> tuple[object, ...]:
        position, index = sample
        return position, index, *(_tensors(self.dataset, index) if self.with_images else ())


class BatchMaker:
    """Makes batches of loaded samples, on their device.

    Args:
        dataset: The images and labels.
        seed: Seed of the noise and of the other random numbers.
        noise_shape: `SampleSpace.shape` of the model.
        random_flip: Whether half of the images are mirrored, left to right.
        augmentation: The share of the images to which each change of `augmentation` is applied.
        image_device: The device that holds all images; None if they are loaded for each sample.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        seed: int,
        noise_shape: Sequence[int],
        random_flip: bool = False,
        augmentation: float = 0.0,
        image_device: torch.device | None = None,
    ) -> None:
        self.seed, self.noise_shape = seed, tuple(noise_shape)
        self.random_flip, self.augmentation = random_flip, augmentation
        self.num_labels = len(dataset.labels)
        self.most_labels = int(dataset.class_labels.sum(dim=1).max()) if dataset.labels else 0
        self.held = (
            None if image_device is None else [values.to(image_device) for values in _tensors(dataset, slice(None))]
        )

    def __call__(self, samples: Sequence[torch.Tensor]) -> Batch:
        """The batch of B samples of a `StreamDataset`."""
        positions, indices, *loaded = samples
        images, masks, class_labels = loaded if self.held is None else (values[indices] for values in self.held)
        num_noise, num_changes = int(np.prod(self.noise_shape)), NUM_UNIFORMS if self.augmentation else 0
        # an even number of words for the noise, whose numbers come in pairs
        counts = [1, NUM_BATCH_UNIFORMS, self.num_labels + 1, num_noise + num_noise % 2, num_changes]
        words = random_words(self.seed, positions, sum(counts))
        flip_words, sample_words, place_words, noise_words, change_words = words.split(counts, dim=1)
        if self.random_flip:
            is_flipped = to_uniform(flip_words) < 0.5
            images, masks = (
                values.flip(-1).where(is_flipped.reshape(-1, *[1] * (values.ndim - 1)), values)
                for values in (images, masks)
            )
        clean_images, augment_labels = images.float() / 127.5 - 1.0, class_labels[:, :0]
        if self.augmentation:
            clean_images, augment_labels = augment(clean_images, to_uniform(change_words), self.augmentation)
        return Batch(
            positions=positions,
            clean_images=clean_images,
            masks=masks,
            class_labels=class_labels,
            augment_labels=augment_labels,
            most_labels=self.most_labels,
            noise=to_normal(noise_words)[:, :num_noise].reshape(-1, *self.noise_shape),
            uniforms=to_uniform(sample_words),
            place_uniforms=to_uniform(place_words),
        )


def fits_on(device: torch.device, dataset: ImageDataset) -> bool:
    """Whether a GPU is to hold all images: if they take at most a tenth of its free memory."""
    size = dataset.images.nbytes + dataset.class_labels.nbytes + (0 if dataset.masks is None else dataset.masks.nbytes)
    return device.type == "cuda" and size < _SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]


def _tensors(dataset: ImageDataset, index: int | slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (..., C, H, W) uint8, masks (..., 1, 2 H, 2 W) uint8 or (..., 0), and labels (..., num_labels)."""

    def channels_first(images: Images) -> torch.Tensor:
        return torch.from_numpy(np.moveaxis(images[index], -1, -3).copy())  # torch warns about read-only arrays

    labels = dataset.class_labels[index]
    masks = labels[..., :0].byte() if dataset.masks is None else channels_first(dataset.masks)
    return channels_first(dataset.images), masks, labels

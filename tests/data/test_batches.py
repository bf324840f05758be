"""The stream of samples is a function of the seed and the position, whatever it is cut into."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from lab_ddpm.data.batches import Batch, BatchMaker, StreamDataset, StreamSampler
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_dataset import ImageDataset
from lab_ddpm.data.images import to_tensor

SHAPE = (3, 4, 4)  # of the images


def stream(num_images: int, batch_size: int, seed: int, first: int, last: int) -> list[tuple[int, int]]:
    sampler = StreamSampler(num_images, batch_size, seed, first, last)
    assert len(sampler) == last - first
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [batch_size] * (last - first)
    return [sample for batch in batches for sample in batch]


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    names = [f"{index}.png" for index in range(5)]
    return ImageDataset(names, images, torch.eye(5, len(OBJECTS)), OBJECTS, "squash", "content")


@given(st.integers(9, 20), st.integers(1, 9), st.integers(0, 2**31))
def test_each_epoch_shows_each_image_once(num_images: int, batch_size: int, seed: int) -> None:
    batch_size = min(batch_size, num_images)
    samples = stream(num_images, batch_size, seed, 0, -(-3 * num_images // batch_size))
    assert [position for position, _ in samples] == list(range(len(samples)))
    for epoch in range(3):
        shown = [index for _, index in samples[epoch * num_images : (epoch + 1) * num_images]]
        assert sorted(shown) == list(range(num_images))


@given(st.integers(9, 20), st.integers(1, 9), st.integers(0, 9))
def test_the_stream_does_not_depend_on_the_batch_size_or_on_where_it_is_entered(
    num_images: int, batch_size: int, first: int
) -> None:
    batch_size = min(batch_size, num_images)
    whole = stream(num_images, 1, 3, 0, (first + 4) * batch_size)
    assert stream(num_images, batch_size, 3, first, first + 4) == whole[first * batch_size :]


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    orders = {
        tuple(index for _, index in stream(50, 50, seed, epoch, epoch + 1)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def make_batch(dataset: ImageDataset, seed: int, samples: list[tuple[int, int]], **options: Any) -> Batch:
    """The batch of (position, image index) samples."""
    loaded = default_collate([StreamDataset(dataset, "image_device" not in options)[sample] for sample in samples])
    return BatchMaker(dataset, seed, SHAPE, **options)(loaded)


@pytest.mark.parametrize(("batch_size", "first", "num_workers"), [(5, 0, 0), (2, 3, 0), (3, 0, 2)], ids=str)
def test_a_sample_is_the_same_in_any_batch_from_any_start_by_any_process(
    dataset: ImageDataset, batch_size: int, first: int, num_workers: int
) -> None:
    sampler = StreamSampler(len(dataset), batch_size, 3, first, first + 4)
    positions = slice(first * batch_size, (first + 4) * batch_size)
    expected: Any = make_batch(dataset, 3, stream(len(dataset), 1, 3, 0, positions.stop)[positions])
    samples = DataLoader(StreamDataset(dataset, with_images=True), batch_sampler=sampler, num_workers=num_workers)
    batches: list[Any] = [BatchMaker(dataset, 3, SHAPE)(loaded) for loaded in samples]
    for key in expected.keys() - {"most_labels"}:
        assert torch.cat([batch[key] for batch in batches]).equal(expected[key]), key


@pytest.mark.parametrize("with_masks", [False, True])
def test_a_device_that_holds_all_images_gets_the_same_batches(dataset: ImageDataset, with_masks: bool) -> None:
    if with_masks:
        dataset = dataclasses.replace(dataset, masks=dataset.images[..., :1])
    samples = [(7, 2), (8, 0), (9, 4)]
    loaded: Any = make_batch(dataset, 0, samples, random_flip=True)
    held: Any = make_batch(dataset, 0, samples, random_flip=True, image_device=torch.device("cpu"))
    assert held.pop("most_labels") == loaded.pop("most_labels") == 1
    assert all(held[key].equal(loaded[key]) for key in loaded)


def test_a_sample_holds_the_image_and_its_label(dataset: ImageDataset) -> None:
    batch = make_batch(dataset, 0, [(11, 2), (12, 0)])
    assert batch["positions"].tolist() == [11, 12]
    assert batch["clean_images"].shape == batch["noise"].shape == (2, *SHAPE)
    assert batch["clean_images"].equal(to_tensor(dataset.images[[2, 0]]))
    assert batch["class_labels"].equal(dataset.class_labels[[2, 0]])


def test_random_numbers_have_their_distributions_and_no_two_positions_or_seeds_share_them(
    dataset: ImageDataset,
) -> None:
    drawn: list[Any] = [make_batch(dataset, seed, [(position, 0) for position in range(1000)]) for seed in (0, 1)]
    noise, uniforms = (torch.cat([batch[key] for batch in drawn]) for key in ("noise", "uniforms"))
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert uniforms.shape == (2000, 5)
    for column in uniforms.T:
        assert (torch.histc(column, bins=10, min=0, max=1) - 200).abs().max() < 60
    assert (torch.corrcoef(uniforms.T) - torch.eye(5)).abs().max() < 0.07
    assert len({row.tobytes() for row in noise.flatten(1).numpy()}) == 2000
    # an odd number of numbers is no special case
    odd = BatchMaker(dataset, 0, (1, 3, 5))([torch.arange(2), torch.zeros(2), *(torch.zeros(2, 1),) * 3])
    assert odd["noise"].shape == (2, 1, 3, 5)


def test_half_of_the_images_are_mirrored_with_their_masks_and_nothing_else_changes(dataset: ImageDataset) -> None:
    masked = dataclasses.replace(dataset, masks=dataset.images[..., :1])
    samples = [(position, position % 5) for position in range(400)]
    plain, flipped = (make_batch(masked, 0, samples, random_flip=flip) for flip in (False, True))
    changed = (plain["clean_images"] != flipped["clean_images"]).flatten(1).any(dim=1)
    assert 160 < changed.sum() < 240
    expected = plain["clean_images"].flip(-1).where(changed[:, None, None, None], plain["clean_images"])
    assert flipped["clean_images"].equal(expected)
    assert ((flipped["clean_images"][:, :1] + 1) * 127.5).round().equal(flipped["masks"].float())
    for key in ("noise", "uniforms", "place_uniforms", "class_labels"):
        assert flipped[key].equal(plain[key])

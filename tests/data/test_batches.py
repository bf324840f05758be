"""The stream of samples is a function of the seed and the position, whatever it is cut into."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lab_ddpm.data.batches import StreamDataset, StreamSampler
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_cache import ImageDataset

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


@pytest.mark.parametrize(("batch_size", "first", "num_workers"), [(5, 0, 0), (2, 3, 0), (3, 0, 2)], ids=str)
def test_a_sample_is_the_same_in_any_batch_from_any_start_by_any_process(
    dataset: ImageDataset, batch_size: int, first: int, num_workers: int
) -> None:
    samples = StreamDataset(dataset, 3, SHAPE)
    sampler = StreamSampler(len(dataset), batch_size, 3, first, first + 4)
    positions = range(first * batch_size, (first + 4) * batch_size)
    orders = stream(len(dataset), 1, 3, 0, positions.stop)
    expected = [samples[orders[position]] for position in positions]
    loaded = DataLoader(samples, batch_sampler=sampler, num_workers=num_workers)
    for key in ("clean_images", "class_labels", "noise", "uniforms"):
        together = torch.cat([batch[key] for batch in loaded])
        assert together.equal(torch.stack([sample[key] for sample in expected]))


def test_a_sample_holds_the_image_and_its_label(dataset: ImageDataset) -> None:
    sample = StreamDataset(dataset, 0, SHAPE)[11, 2]
    assert sample["clean_images"].shape == sample["noise"].shape == SHAPE
    assert sample["clean_images"][1, 2, 3].item() == pytest.approx(dataset.images[2, 2, 3, 1] / 127.5 - 1)
    assert sample["class_labels"].equal(dataset.class_labels[2])


def test_random_numbers_have_their_distributions_and_no_two_positions_or_seeds_share_them(
    dataset: ImageDataset,
) -> None:
    drawn = [StreamDataset(dataset, seed, SHAPE)[position, 0] for seed in (0, 1) for position in range(1000)]
    noise, uniforms = (torch.stack([sample[key] for sample in drawn]) for key in ("noise", "uniforms"))
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert uniforms.shape == (2000, 5)
    for column in uniforms.T:
        assert (torch.histc(column, bins=10, min=0, max=1) - 200).abs().max() < 60
    assert (torch.corrcoef(uniforms.T) - torch.eye(5)).abs().max() < 0.07
    assert len({row.tobytes() for row in noise.flatten(1).numpy()}) == 2000
    # the generator of a sample is not that of the order of its epoch
    seeded_alike = int(np.random.SeedSequence((0, 0, 0)).generate_state(1)[0])
    others = torch.rand(3, generator=torch.Generator().manual_seed(seeded_alike))
    assert not torch.isin(uniforms[0], others).any()


def test_half_of_the_images_are_mirrored_with_their_masks_and_nothing_else_changes(dataset: ImageDataset) -> None:
    masked = dataclasses.replace(dataset, masks=dataset.images[..., :1])
    plain, flipped = (StreamDataset(masked, 0, SHAPE, random_flip=flip) for flip in (False, True))
    mirrored = 0
    for position in range(400):
        before, after = plain[position, position % 5], flipped[position, position % 5]
        if not after["clean_images"].equal(before["clean_images"]):
            mirrored += 1
            assert after["clean_images"].equal(before["clean_images"].flip(-1))
        assert ((after["clean_images"][0] + 1) * 127.5).round().equal(after["masks"][0].float())
        assert after["noise"].equal(before["noise"])
        assert after["uniforms"].equal(before["uniforms"])
    assert 160 < mirrored < 240

"""The stream of samples is a function of the seed and the position, whatever it is cut into."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lab_ddpm.data.batches import StreamDataset, StreamSampler, image_weights
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.image_cache import ImageDataset
from lab_ddpm.tools.errors import UserError

SHAPE = (3, 4, 4)  # of the images


def stream(num_images: int, batch_size: int, seed: int, first: int, last: int) -> list[tuple[int, int]]:
    sampler = StreamSampler(np.ones(num_images), batch_size, seed, first, last)
    return [sample for batch in sampler for sample in batch]


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    names = [f"{index}.png" for index in range(5)]
    return ImageDataset(names, images, torch.eye(5, len(OBJECTS)), OBJECTS, "squash", "content")


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**31))
def test_each_epoch_shows_each_image_once(num_images: int, batch_size: int, seed: int) -> None:
    batches = -(-3 * num_images // batch_size)
    samples = stream(num_images, batch_size, seed, 0, batches)
    assert [position for position, _ in samples] == list(range(batches * batch_size))
    for epoch in range(3):
        shown = [index for _, index in samples[epoch * num_images : (epoch + 1) * num_images]]
        assert sorted(shown) == list(range(num_images))


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_batches_are_always_full(num_images: int, batch_size: int, first: int, count: int) -> None:
    sampler = StreamSampler(np.ones(num_images), batch_size, 0, first, first + count)
    assert [len(batch) for batch in sampler] == [batch_size] * len(sampler) == [batch_size] * count


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 9))
def test_the_stream_does_not_depend_on_the_batch_size_or_on_where_it_is_entered(
    num_images: int, batch_size: int, first: int
) -> None:
    whole = stream(num_images, 1, 3, 0, (first + 4) * batch_size)
    assert stream(num_images, batch_size, 3, first, first + 4) == whole[first * batch_size :]


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20), st.integers(0, 2**31))
def test_each_epoch_shows_each_image_as_often_as_its_weight_says(weights: list[float], seed: int) -> None:
    count, shares = len(weights), np.array(weights) / sum(weights)
    shown = [index for batch in StreamSampler(np.array(weights), 1, seed, count, 2 * count) for _, index in batch]
    times = np.bincount(shown, minlength=count)
    assert (np.abs(times - shares * count) < 1 + 1e-6).all()


def test_images_are_weighed_by_the_number_of_labels_and_by_first_words(dataset: ImageDataset) -> None:
    class_labels = dataset.class_labels.clone()
    class_labels[1, 5:7] = 1
    several = dataclasses.replace(dataset, class_labels=class_labels)
    assert image_weights(several, (0.5, 1, 2), 1).tolist() == [0.5, 2, 0.5, 0.5, 0.5]
    assert image_weights(several, (), 1).tolist() == [1] * 5
    one_colour = tuple("red" if label in (5, 6) else f"colour{label}" for label in range(class_labels.shape[1]))
    several = dataclasses.replace(several, labels=tuple(f"{colour} cube" for colour in one_colour))
    assert image_weights(several, (0.5, 1, 2), 3).tolist() == [0.5, 6, 0.5, 0.5, 0.5]
    with pytest.raises(UserError, match=r"`data.count_weights` must have one for each number of labels, 1 to 3, got"):
        image_weights(several, (1, 2), 1)


def test_a_mirrored_image_has_a_mirrored_mask(dataset: ImageDataset) -> None:
    masks = dataset.images[..., :1]
    samples = StreamDataset(dataclasses.replace(dataset, masks=masks), 0, SHAPE, random_flip=True)
    found = {bool(torch.equal(samples[place, 2]["masks"][0], torch.from_numpy(masks[2, ..., 0]))) for place in range(9)}
    assert found == {True, False}
    for sample in (samples[place, 2] for place in range(9)):
        shown = ((sample["clean_images"][0] + 1) * 127.5).round()
        assert shown.equal(sample["masks"][0].float())


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(index for _, index in stream(50, 50, seed, epoch, epoch + 1))

    assert len({order(seed, epoch) for seed in range(4) for epoch in range(4)}) == 16


@pytest.mark.parametrize(("batch_size", "first", "num_workers"), [(1, 0, 0), (7, 0, 0), (2, 3, 0), (3, 0, 2)], ids=str)
def test_a_sample_is_the_same_in_any_batch_from_any_start_by_any_process(
    dataset: ImageDataset, batch_size: int, first: int, num_workers: int
) -> None:
    samples = StreamDataset(dataset, 3, SHAPE)
    sampler = StreamSampler(np.ones(len(dataset)), batch_size, 3, first, first + 4)
    positions = range(first * batch_size, (first + 4) * batch_size)
    orders = stream(len(dataset), 1, 3, 0, positions.stop)
    expected = [samples[orders[position]] for position in positions]
    loaded = list(DataLoader(samples, batch_sampler=sampler, num_workers=num_workers))
    for key in ("clean_images", "class_labels", "noise", "uniforms"):
        together = torch.cat([batch[key] for batch in loaded])
        assert together.equal(torch.stack([sample[key] for sample in expected]))


def test_a_sample_holds_the_image_and_its_label(dataset: ImageDataset) -> None:
    sample = StreamDataset(dataset, 0, SHAPE)[11, 2]
    assert sample["clean_images"].shape == sample["noise"].shape == (3, 4, 4)
    assert sample["clean_images"][1, 2, 3].item() == pytest.approx(dataset.images[2, 2, 3, 1] / 127.5 - 1)
    assert sample["class_labels"].equal(dataset.class_labels[2])


def test_noise_and_uniforms_have_their_distributions_and_no_two_positions_share_them(
    dataset: ImageDataset,
) -> None:
    samples = [StreamDataset(dataset, 1, SHAPE)[position, 0] for position in range(2000)]
    noise = torch.stack([sample["noise"] for sample in samples])
    uniforms = torch.stack([sample["uniforms"] for sample in samples])
    assert noise.dtype == torch.float32
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert uniforms.min() > 0
    assert uniforms.max() < 1
    assert uniforms.shape == (2000, 5)
    for column in uniforms.T:  # of the timestep, of the two dropouts and of the window
        counts = torch.histc(column, bins=10, min=0, max=1)
        assert (counts - 200).abs().max() < 60
    assert (torch.corrcoef(uniforms.T) - torch.eye(5)).abs().max() < 0.07
    assert len(set(uniforms[:, :3].flatten().tolist())) == 6000  # of 10,000 with 24 bits some would meet by chance
    assert len(set(uniforms[:, 3:].flatten().tolist())) == 4000
    assert len({row.tobytes() for row in noise.flatten(1).numpy()}) == 2000


def test_another_seed_gives_other_noise(dataset: ImageDataset) -> None:
    first, second = (StreamDataset(dataset, seed, SHAPE)[0, 0]["noise"] for seed in (0, 1))
    assert not first.equal(second)


def test_the_order_of_an_epoch_and_the_noise_of_a_sample_are_drawn_by_different_generators(
    dataset: ImageDataset,
) -> None:
    random = np.random.default_rng((0, 0, 0))
    assert [index for _, index in stream(5, 5, 0, 0, 1)] == random.permutation(5).tolist()
    seeded_alike = int(np.random.SeedSequence((0, 0, 0)).generate_state(1)[0])
    uniforms = torch.rand(3, generator=torch.Generator().manual_seed(seeded_alike))
    assert not torch.isin(StreamDataset(dataset, 0, SHAPE)[0, 0]["uniforms"], uniforms).any()


def test_half_of_the_images_are_mirrored_and_nothing_else_changes(dataset: ImageDataset) -> None:
    plain, flipped = (StreamDataset(dataset, 0, SHAPE, random_flip=flip) for flip in (False, True))
    mirrored = 0
    for position in range(400):
        before, after = plain[position, position % 5], flipped[position, position % 5]
        if not after["clean_images"].equal(before["clean_images"]):
            mirrored += 1
            assert after["clean_images"].equal(before["clean_images"].flip(-1))
        assert after["noise"].equal(before["noise"])
        assert after["uniforms"].equal(before["uniforms"])
    assert 160 < mirrored < 240

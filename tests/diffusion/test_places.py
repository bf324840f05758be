"""Places are read off masks, told to the network, and decided by a placer that cannot miscount."""

import dataclasses
from typing import Any

import pytest
import torch

from conftest import tiny_batch, tiny_denoiser
from lab_ddpm.data.batches import Batch
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.place_map import place_map_when_sampling
from lab_ddpm.diffusion.placer import GRID, Placer
from lab_ddpm.diffusion.places import Places, disc_masks, places_in
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.diffusion.sampling import Sampling, sample
from lab_ddpm.tools.errors import UserError

LABELS = ("left", "right", "top")
PLACED: dict[str, Any] = {"labels": LABELS, "prediction_type": "sample", "patch_size": 2, "layout_scale": 2.0}
PLACED |= {"places_dropout": 0.5}


def placed_batch(denoiser: Denoiser) -> Batch:
    """Four images of 16 x 16, with squares of 4 x 4 at the places of their labels."""
    random = torch.Generator().manual_seed(0)
    class_labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]])
    masks = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    for image, index in class_labels.nonzero().tolist():
        x, y = ((2, 8), (10, 8), (6, 2))[index]
        masks[image, 0, y : y + 4, x : x + 4] = index + 1
    return tiny_batch(
        denoiser,
        torch.rand(4, 3, 16, 16, generator=random) * 2 - 1,
        masks=masks,
        class_labels=class_labels,
        noise=torch.randn(4, *denoiser.space.shape, generator=random),
        uniforms=torch.rand(4, 5, generator=random),
        place_uniforms=torch.rand(4, 4, generator=random),
    )


def test_places_are_the_middles_of_what_masks_show() -> None:
    denoiser = tiny_denoiser(**PLACED)
    places = places_in(placed_batch(denoiser)["masks"], denoiser.space)
    found = [
        {(label, *center) for label, center in zip(labels, centers, strict=True) if label}
        for labels, centers in zip(places.labels.tolist(), places.centers.tolist(), strict=True)
    ]
    left, right, top = (1, 4.0, 10.0), (2, 12.0, 10.0), (3, 8.0, 4.0)
    assert found == [{left}, {right, top}, {left, right, top}, {top}]


def test_where_discs_overlap_the_nearer_center_counts() -> None:
    places = Places(torch.tensor([[1, 2, 0]]), torch.tensor([[[4.0, 8.0], [8.0, 8.0], [0.0, 0.0]]]))
    masks = disc_masks(places, (16, 16), radius=4.0)[0, 0]
    assert masks[7, 3:6].tolist() == [1, 1, 1]
    assert masks[7, 6:10].tolist() == [2, 2, 2, 2]
    assert not masks[0].any()


@torch.no_grad()
def test_the_network_listens_to_places_and_zeros_are_unknown() -> None:
    denoiser = tiny_denoiser(**PLACED)
    noisy, rows = torch.randn(2, *denoiser.space.shape), torch.eye(3)[:2]
    here, there = (
        place_map_when_sampling(
            denoiser, rows, [0, 1], Places(torch.tensor([[1], [2]]), torch.full((2, 1, 2), at)), False
        )
        for at in (4.0, 12.0)
    )
    assert here is not None
    assert there is not None
    t = torch.tensor(500)
    unknown = denoiser(noisy, t, rows)
    assert torch.equal(unknown, denoiser(noisy, t, rows, torch.zeros_like(here)))
    predictions = torch.stack([denoiser(noisy, t, rows, here), denoiser(noisy, t, rows, there), unknown])
    assert (torch.pdist(predictions.flatten(1)) > 0.01).all()
    guided = denoiser.predict_clean(noisy, t, rows, 2.0, here)
    null, cond = denoiser(noisy, t, 0 * rows, here), denoiser(noisy, t, rows, here)
    torch.testing.assert_close(guided, denoiser.space.clip(null + 2 * (cond - null)), atol=1e-4, rtol=1e-4)


def test_every_weight_learns_and_the_placer_from_its_own_term_alone() -> None:
    denoiser = tiny_denoiser(**PLACED, detail_channels=(8,))
    batch = placed_batch(denoiser)
    terms = DenoisingLoss()(denoiser, batch)
    assert list(terms) == ["image", "layout", "places", "detail"]
    terms["places"].backward(retain_graph=True)
    touched = {name.split(".")[0] for name, weight in denoiser.named_parameters() if weight.grad is not None}
    assert touched == {"placer"}
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in denoiser.parameters())


@torch.no_grad()
def test_places_are_dropped_where_the_batch_says_so() -> None:
    denoiser = tiny_denoiser(**PLACED)

    def image_term(uniform: float) -> float:
        batch = placed_batch(denoiser)
        batch["uniforms"][:, 2] = uniform
        batch["uniforms"][:, 0] = 0.999  # only noise is left of the layout
        return DenoisingLoss()(denoiser, batch)["image"].item()

    assert image_term(0.4) == image_term(0.1)
    assert image_term(0.4) != image_term(0.6)


def test_a_placer_learns_where_each_label_stands_and_puts_down_each_once() -> None:
    torch.manual_seed(0)
    space = SampleSpace((16, 16), 3, 2, 3, 2.0)
    placer = Placer(space)
    batch = placed_batch(tiny_denoiser(**PLACED))
    places = places_in(batch["masks"], space)
    optimizer = torch.optim.AdamW(placer.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = placer.loss(batch["class_labels"], places, torch.rand(4, 4)).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
    assert placer.most == 3
    rows = batch["class_labels"][[2, 0, 1]]
    drawn = placer.draw(rows, [0, 1, 2])
    for row, labels, centers in zip(rows, drawn.labels, drawn.centers, strict=True):
        assert sorted(label for label in labels.tolist() if label) == (row.nonzero()[:, 0] + 1).tolist()
        for label, center in zip(labels.tolist(), centers, strict=True):
            if label:
                middle = torch.tensor([(4.0, 10.0), (12.0, 10.0), (8.0, 4.0)][label - 1])
                assert (center - middle).abs().max() <= 16 / GRID
    alone = placer.draw(rows[1:2], [1])
    torch.testing.assert_close(alone.centers[0, 0], drawn.centers[1, 0])


def test_samples_follow_their_seeds_and_places_that_are_given() -> None:
    denoiser, rows = tiny_denoiser(**PLACED), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    both = sample(denoiser, rows, [0, 1], Sampling("ddim", 2))
    torch.testing.assert_close(sample(denoiser, rows[1:], [1], Sampling("ddim", 2)), both[1:], atol=1e-4, rtol=1e-4)
    given = denoiser.placer.draw(rows, [0, 1])
    assert torch.equal(sample(denoiser, rows, [0, 1], Sampling("ddim", 2), places=given), both)
    moved = dataclasses.replace(given, centers=given.centers.flip(1))
    assert not torch.equal(sample(denoiser, rows, [0, 1], Sampling("ddim", 2), places=moved), both)
    composed = torch.stack([rows, 0 * rows], dim=1)
    torch.testing.assert_close(sample(denoiser, composed, [0, 1], Sampling("ddim", 2)), both, atol=1e-4, rtol=1e-4)
    always_told = tiny_denoiser(**PLACED | {"places_dropout": 0.0})
    for told_nothing in (0 * rows, rows / 2):
        assert torch.isfinite(sample(denoiser, told_nothing, [0, 1], Sampling("ddim", 2))).all()
        with pytest.raises(UserError, match="places_dropout"):
            sample(always_told, told_nothing, [0, 1], Sampling("ddim", 2))
    with pytest.raises(UserError, match="layout"):
        sample(tiny_denoiser(labels=LABELS), rows, [0, 1], Sampling("ddim", 2), places=given)

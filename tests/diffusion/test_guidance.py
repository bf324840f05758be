"""Guidance by its formula, alone and composed."""

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.guidance import guided
from lab_ddpm.tools.errors import UserError

LABELS = ("left", "right", "top")


def linear(noisy: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
    """A network that adds 1, 10 and 100 for its three labels."""
    return noisy + (class_labels @ torch.tensor([1.0, 10.0, 100.0]))[:, None, None, None]


def test_composed_conditions_are_rows_and_those_of_a_not_are_negative() -> None:
    denoiser = tiny_denoiser(labels=LABELS)
    rows = denoiser.compose(["left, right", ("top",)], ["right"])
    assert rows.tolist() == [[1, 1, 0], [0, 0, 1], [0, -1, 0]]
    for wrong in (["left", "up"], ["left", ()]):
        with pytest.raises(UserError):
            denoiser.compose(wrong)
    with pytest.raises(UserError):
        denoiser.class_labels(torch.tensor([[[1.0, -1.0, 0.0]]]))


def test_every_part_counts_with_its_sign() -> None:
    noisy = torch.arange(2.0).reshape(2, 1, 1, 1)
    rows = torch.stack([torch.diag(torch.tensor([1.0, 1.0, -1.0])), torch.zeros(3, 3)])
    found = guided(linear, noisy, rows, 2.0)
    assert found.flatten().tolist() == [2 * (1 + 10 - 100), 1]  # the second has no condition at all


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_one_condition_alone_is_what_it_is_without_composing(scale: float) -> None:
    noisy, rows = torch.randn(2, 1, 1, 1), torch.eye(3)[:2]
    expected = noisy.flatten() + scale * torch.tensor([1.0, 10.0])
    torch.testing.assert_close(guided(linear, noisy, rows, scale).flatten(), expected)
    torch.testing.assert_close(guided(linear, noisy, rows[:, None], scale).flatten(), expected)


def test_the_network_is_asked_no_more_often_than_needed() -> None:
    asked = []

    def network(noisy: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        asked.append(len(noisy))
        return linear(noisy, class_labels)

    rows = torch.eye(3)[:2]
    for class_labels, scale in ((rows, 1.0), (rows, 3.0), (rows[:, None], 1.0)):
        guided(network, torch.zeros(2, 1, 1, 1), class_labels, scale)
    assert asked == [2, 4, 4]


@torch.no_grad()
def test_guidance_reaches_the_clean_sample() -> None:
    denoiser = tiny_denoiser(labels=OBJECTS, prediction_type="sample", clip_sample=False)
    noisy, timestep = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor(600)
    rows = denoiser.compose(["red cube", "cyan sphere"], ["gray cube"])
    null, *parts = (denoiser(noisy, timestep, row[None]) for row in (torch.zeros(24), *rows.abs()))
    expected = null + 2 * (parts[0] + parts[1] - parts[2] - null)
    torch.testing.assert_close(denoiser.predict_clean(noisy, timestep, rows[None], 2.0), expected, atol=1e-4, rtol=1e-4)

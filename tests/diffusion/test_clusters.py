"""A model without labels is told the cluster of each image, and draws clusters as often as its images have them."""

import pytest
import torch

from conftest import tiny_denoiser
from lab_ddpm.diffusion.clusters import Clusters
from lab_ddpm.diffusion.sampling import Sampling, Start, sample
from lab_ddpm.tools.errors import UserError

LEVELS = torch.tensor([-0.8, 0.0, 0.9]).repeat_interleave(torch.tensor([60, 30, 10]))
IMAGES = LEVELS[:, None, None, None].expand(-1, 3, 16, 16)


def fitted() -> Clusters:
    clusters = Clusters(3, in_channels=3)
    clusters.fit(IMAGES.split(32))
    return clusters


def test_images_that_look_alike_are_one_cluster_and_are_drawn_as_often() -> None:
    clusters = fitted()
    of_images = clusters.nearest(IMAGES).argmax(dim=1)
    assert len(set(of_images.tolist())) == 3
    assert all(len(set(group.tolist())) == 1 for group in of_images.split([60, 30, 10]))
    drawn = clusters.draw(range(2000))
    torch.testing.assert_close(
        drawn.mean(dim=0)[of_images[[0, 60, 90]]], torch.tensor([0.6, 0.3, 0.1]), atol=0.03, rtol=0
    )
    assert torch.equal(clusters.draw([7]), drawn[[7]])


def test_samples_follow_their_cluster_and_a_start_has_none() -> None:
    denoiser = tiny_denoiser(num_clusters=3, condition_dropout=0.1)
    assert denoiser.clusters is not None
    assert denoiser.label_embedding is not None
    torch.nn.init.normal_(denoiser.label_embedding.weight)
    rows, sampling = torch.zeros(1, 0), Sampling("ddim", 2)
    start = Start(torch.randn(1, *denoiser.space.shape), 999)
    drawn, started = sample(denoiser, rows, [0], sampling), sample(denoiser, rows, [0], sampling, start=start)
    assert not torch.equal(sample(denoiser, rows, [0], Sampling("ddim", 2, guidance_scale=2.0)), drawn)
    told = denoiser.clusters.draw([0])
    denoiser.clusters.shares.copy_(torch.roll(told[0], 1))
    assert not torch.equal(sample(denoiser, rows, [0], sampling), drawn)
    assert torch.equal(sample(denoiser, rows, [0], sampling, start=start), started)


@pytest.mark.parametrize("settings", [{"labels": ("a", "b")}, {"condition_dropout": 0.0}])
def test_clusters_need_a_model_without_labels_and_a_share_that_is_not_told(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match="clusters"):
        tiny_denoiser(**{"num_clusters": 3, "condition_dropout": 0.1, **settings})

"""Detail is added at the less noisy timesteps alone, behind the network of patches, which takes no notice."""

from typing import Any

import pytest
import torch

from conftest import tiny_batch, tiny_denoiser
from lab_ddpm.data.batches import Batch
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.detailer import Detailer
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.place_map import make_place_map
from lab_ddpm.diffusion.places import places_in
from lab_ddpm.diffusion.sample_space import SampleSpace

SETTINGS: dict[str, Any] = {"labels": OBJECTS, "prediction_type": "sample", "patch_size": 4, "detail_channels": (8, 16)}
TIMESTEPS = torch.tensor([0, 599, 600, 999])


def detailed_denoiser(layout_scale: float = 2.0, detail_share: float = 0.6) -> Denoiser:
    """One whose detailer has learnt something."""
    denoiser = tiny_denoiser(**SETTINGS, layout_scale=layout_scale, detail_share=detail_share)
    for parameter in denoiser.detailer.conv_out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return denoiser


def draw_batch(denoiser: Denoiser, timesteps: torch.Tensor = TIMESTEPS) -> Batch:
    """An image for each timestep, its labels and its layout kept."""
    random = torch.Generator().manual_seed(0)
    count = len(timesteps)
    return tiny_batch(
        denoiser,
        torch.rand(count, 3, 16, 16, generator=random) * 2 - 1,
        masks=torch.randint(25, (count, 1, 16, 16), generator=random),
        class_labels=torch.eye(24)[:count],
        uniforms=torch.stack([(timesteps + 0.5) / 1000, *torch.ones(2, count), *torch.zeros(2, count)], dim=1),
    )


@pytest.mark.parametrize(("layout_scale", "detail_share", "count"), [(0.0, 0.25, 1), (2.0, 0.6, 2)])
@torch.no_grad()
def test_the_less_noisy_images_get_detail_and_no_layout_does(
    layout_scale: float, detail_share: float, count: int
) -> None:
    denoiser = detailed_denoiser(layout_scale, detail_share)
    noisy, rows = torch.randn(4, *denoiser.space.shape), torch.eye(24)[:4]
    places = torch.zeros(4, denoiser.place_map_channels, *noisy.shape[2:]) if layout_scale else None
    before, after = (predict(noisy, TIMESTEPS, rows, places) for predict in (denoiser.predict_without_detail, denoiser))
    changes = (denoiser.space.decode(after) - denoiser.space.decode(before)).abs().amax(dim=(1, 2, 3))
    assert (changes[:count] > 1e-3).all()
    assert torch.equal(after[count:], before[count:])
    if layout_scale:
        torch.testing.assert_close(denoiser.space.layout(after), denoiser.space.layout(before))
    for index, timestep in enumerate(TIMESTEPS):  # of one timestep for all, whole or not, it is the same
        for given in (timestep, timestep.float()):
            torch.testing.assert_close(denoiser(noisy, given, rows)[index], after[index])


@torch.no_grad()
def test_it_begins_with_none(tmp_path: Any) -> None:
    denoiser = tiny_denoiser(**SETTINGS, layout_scale=2.0)
    noisy, rows = torch.randn(4, *denoiser.space.shape), torch.eye(24)[:4]
    places = torch.zeros(4, denoiser.place_map_channels, *noisy.shape[2:])
    before = denoiser.predict_without_detail(noisy, TIMESTEPS, rows, places)
    assert torch.equal(denoiser(noisy, TIMESTEPS, rows), before)
    changed = detailed_denoiser()
    changed.save_pretrained(tmp_path)
    loaded = Denoiser.from_pretrained(tmp_path)
    assert torch.equal(loaded(noisy, TIMESTEPS, rows), changed(noisy, TIMESTEPS, rows))


@torch.no_grad()
def test_what_it_sees_is_what_is_missing_of_the_noisy_image() -> None:
    """Where the image is right and there is hardly any noise, its first channels are nearly nothing."""
    denoiser = detailed_denoiser(layout_scale=0.0)
    seen: list[torch.Tensor] = []
    denoiser.detailer.conv_in.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    clean, noise = torch.rand(2, *denoiser.space.shape), torch.randn(2, *denoiser.space.shape)
    for t in (0, 300):
        timestep = torch.tensor(t)
        alpha_bar = denoiser.alpha_bar(timestep)
        denoiser.detailer(clean, denoiser.noise_scheduler.add_noise(clean, noise, timestep), timestep, alpha_bar)
        sigma = (1 - alpha_bar).sqrt()
        expected = denoiser.space.decode(noise) * sigma / (sigma + 0.03)
        torch.testing.assert_close(seen[-1][:, :3], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(seen[-1][:, 3:], 2 * denoiser.space.decode(clean))


@pytest.mark.parametrize(
    ("size", "patch_size", "levels", "sides"),
    [
        ((64, 64), 4, 2, (40, 40)),
        ((48, 16), 4, 2, (40, 16)),  # no larger than the image
        ((96, 96), 12, 1, (36, 36)),  # whole patches,
        ((96, 96), 3, 4, (24, 24)),  # that halve three times
        ((96, 96), 48, 1, (48, 48)),  # one at least
    ],
)
def test_windows_are_cut_alike_in_whole_patches_and_reach_every_corner(
    size: tuple[int, int], patch_size: int, levels: int, sides: tuple[int, int]
) -> None:
    space = SampleSpace(size, 3, patch_size, 24, 0.0)
    detailer = Detailer(space, [8] * levels, 600)
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    places = torch.tensor([[0.0, 0.0], [0.9999, 0.9999], [0.0, 0.9999], [0.5, 0.5]])
    samples = space.encode(torch.stack([rows, columns, rows + columns]).expand(4, -1, -1, -1))
    seen = space.decode(detailer.windows(samples, places))
    assert seen.shape == (4, 3, *sides)
    assert torch.equal(seen[:, 0] + seen[:, 1], seen[:, 2])  # neighbours stay neighbours
    assert torch.equal(seen.diff(dim=2)[:, 0], torch.ones(4, sides[0] - 1, sides[1]))
    assert torch.equal(seen.diff(dim=3)[:, 1], torch.ones(4, sides[0], sides[1] - 1))
    last = [side - length for side, length in zip(size, sides, strict=True)]
    assert seen[:3, :2, 0, 0].tolist() == [[0, 0], last, [0, last[1]]]


@pytest.mark.parametrize("channels", [[8], [8, 16]], ids=str)
@torch.no_grad()
def test_what_it_adds_depends_on_the_surroundings_alone(channels: list[int]) -> None:
    """In the middle of a window, out of reach of its edges, as in the whole image."""
    space = SampleSpace((64, 64), 3, 4, 24, 2.0)
    detailer = Detailer(space, channels, 600)
    torch.nn.init.normal_(detailer.conv_out.weight, std=0.1)
    prediction, noisy = torch.randn(2, 2, *space.shape)
    timestep, alpha_bar, places = torch.tensor(50), torch.tensor(0.9), torch.full((2, 2), 0.5)
    told = torch.randn(2, space.layout_channels + 16, 16, 16)
    whole = detailer(prediction, noisy, timestep, alpha_bar, told)
    predicted, shown, told = (detailer.windows(part, places) for part in (prediction, noisy, told))
    seen = detailer(predicted, shown, timestep, alpha_bar, told)
    middle = (..., slice(3, 7), slice(3, 7))  # two convolutions at the ends and six between them reach 8 pixels
    torch.testing.assert_close(seen[middle], detailer.windows(whole, places)[middle])


@torch.no_grad()
def test_in_a_window_it_adds_what_it_adds_in_the_whole_image_and_is_told_outlines() -> None:
    denoiser = tiny_denoiser(**{**SETTINGS, "sample_size": 64, "detail_channels": (8,)}, layout_scale=2.0)
    torch.nn.init.normal_(denoiser.detailer.conv_out.weight, std=0.1)
    space, rows, where = denoiser.space, torch.arange(2), torch.full((2, 2), 0.5)
    noisy, labels = torch.randn(2, *space.shape), torch.eye(24)[:2]
    places = torch.randn(2, denoiser.place_map_channels, *space.shape[1:])
    timesteps, middle = torch.tensor([10, 100]), (..., slice(3, 7), slice(3, 7))
    whole = denoiser.detailer.windows(denoiser(noisy, timesteps, labels, places), where)
    predicted, seen = denoiser(noisy, timesteps, labels, places, (rows, where))
    torch.testing.assert_close(seen[middle], whole[middle])
    alpha_bar = denoiser.alpha_bar(timesteps)[:, None, None, None]
    detailed = denoiser.detailer(predicted, noisy, timesteps, alpha_bar, places)
    for channel, is_told in ((0, False), (-1, True)):
        changed = places.clone()
        changed[:, channel] += 1
        again = denoiser.detailer(predicted, noisy, timesteps, alpha_bar, changed)
        assert torch.equal(again, detailed) != is_told


def test_its_loss_is_a_term_of_the_less_noisy_images_and_teaches_it_alone() -> None:
    denoiser = detailed_denoiser()
    timesteps = TIMESTEPS[[1, 0, 0, 0, 2, 0, 0, 0, 0]]
    batch = draw_batch(denoiser, timesteps)
    terms = DenoisingLoss()(denoiser, batch)
    assert list(terms) == ["image", "layout", "places", "detail"]
    space = denoiser.space
    clean = space.encode(batch["clean_images"], space.make_layout(batch["masks"]))
    noisy = denoiser.noise_scheduler.add_noise(clean, batch["noise"], timesteps)
    told = make_place_map(space, places_in(batch["masks"], space), batch["masks"], space.make_layout(batch["masks"]))
    with torch.no_grad():
        errors = (denoiser(noisy, timesteps, batch["class_labels"], told) - clean).square()
    first, _, third = space.parts(errors)[0].mean(dim=(1, 2, 3))[::4]  # every fourth image teaches it
    expected = (first + third) / (9 / 4)
    assert terms["detail"].item() == pytest.approx(expected.item(), rel=1e-4)
    terms["detail"].backward()
    touched = {name.split(".")[0] for name, weight in denoiser.named_parameters() if weight.grad is not None}
    assert touched == {"detailer"}


@pytest.mark.parametrize("lengths", [(5, 5), (2, 2, 2, 2, 2), (1, 6, 3)], ids=str)
@torch.no_grad()
def test_the_same_images_teach_it_however_the_stream_is_cut(lengths: tuple[int, ...]) -> None:
    denoiser = detailed_denoiser()
    batch: Any = draw_batch(denoiser, torch.arange(10) * 50)
    batch["positions"] += 7
    parts: list[Any] = [{"most_labels": 24} for _ in lengths]
    for name in batch.keys() - {"most_labels"}:
        for part, values in zip(parts, batch[name].split(lengths), strict=True):
            part[name] = values
    whole = DenoisingLoss()(denoiser, batch)["detail"] * 10
    cut = sum(DenoisingLoss()(denoiser, part)["detail"] * len(part["positions"]) for part in parts)
    torch.testing.assert_close(cut, whole)


def test_every_batch_has_a_gradient_for_it_and_a_noisy_one_teaches_nothing() -> None:
    denoiser = detailed_denoiser()
    terms = DenoisingLoss()(denoiser, draw_batch(denoiser, torch.tensor([700, 900])))
    assert terms["detail"].item() == 0
    terms["detail"].backward()
    gradients = [weight.grad for weight in denoiser.detailer.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_edges_are_learnt_behind_a_network_that_cannot_draw_them() -> None:
    """Of a network whose image is nothing at all, 80 steps leave less than half of the error at little noise."""
    torch.manual_seed(0)
    denoiser = tiny_denoiser(prediction_type="sample", patch_size=4, detail_channels=(8, 16))
    torch.nn.init.zeros_(denoiser.unet.conv_out.weight)
    torch.nn.init.zeros_(denoiser.unet.conv_out.bias)
    denoiser.unet.requires_grad_(False)
    random = torch.Generator().manual_seed(0)
    sides = torch.rand(4, 1, 1, 1, generator=random) * 10 + 3
    images = (torch.arange(16.0) < sides).float().expand(4, 3, 16, 16) * 0.3
    optimizer = torch.optim.AdamW(denoiser.detailer.parameters(), lr=5e-3)
    losses = []
    for _ in range(80):
        uniforms = torch.rand(4, 5, generator=random) * torch.tensor([0.1, 1, 1, 1, 1])
        noise = torch.randn(4, *denoiser.space.shape, generator=random)
        # each image four times: one of four teaches it
        batch = tiny_batch(
            denoiser,
            images.repeat_interleave(4, dim=0),
            noise=noise.repeat_interleave(4, dim=0),
            uniforms=uniforms.repeat_interleave(4, dim=0),
        )
        optimizer.zero_grad()
        terms = DenoisingLoss()(denoiser, batch)
        terms["detail"].backward()
        optimizer.step()
        losses.append((terms["detail"] / terms["image"]).item())
    assert losses[0] == pytest.approx(1, abs=1e-3)
    assert sum(losses[-10:]) / 10 < 0.5

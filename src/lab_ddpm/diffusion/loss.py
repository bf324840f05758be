"""The training objective: the error of a model on a batch, and how much each error counts.

    loss = E[ w(t) mean_pixels( m l(model(x_t, t, c), target) ) ]          target: eps, x_0 or v, see `noise`

m is 1, or more near objects whose places the network gets: weights that depend on c alone leave the best prediction
as it is.

With SNR = abar / (1 - abar), the squared error of x_0 is 1 / SNR times that of eps, and 1 / (SNR + 1) times that of v
(arXiv:2303.09556, section 3.4). So a weight w_0(SNR) on the error of x_0 becomes w = w_0 times that factor:

    "none"           w = 1, whatever is predicted
    "min_snr"        w_0 = min(SNR, gamma)                      (arXiv:2303.09556, eq. 8)
    "clamped_snr"    w_0 = min(SNR + 1, gamma): the weight of v, but at most gamma
    "p2"             w = (1 + SNR)^-gamma on the simple loss    (arXiv:2204.00227, eq. 8 with k = 1)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from accelerate.utils import extract_model_from_parallel

from lab_ddpm.data.batches import FOR_LABELS, FOR_LAYOUT, FOR_TIMESTEP, FOR_WINDOW, Batch
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.place_map import make_place_map
from lab_ddpm.diffusion.places import places_in
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.tools.errors import UserError, check_choice, check_finite, check_positive

LossName = Literal["mse", "l1", "huber"]
LossWeight = Literal["none", "min_snr", "clamped_snr", "p2"]
TimestepDensity = Literal["uniform", "logit_normal"]

LAYOUT_WEIGHT = 1 / 3  # weight of the layout's term, which is measured before the layout is scaled
PLACES_WEIGHT = 0.1  # of the placer's term, which trains nothing but the placer
_DETAIL_EVERY = 4  # the detailer learns from every fourth sample: it needs far fewer than the UNet
_ERRORS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
_GAMMAS = {"min_snr": 5.0, "p2": 1.0, "clamped_snr": 8.0}  # the first two are those of the papers


class DenoisingLoss:
    """The loss of a denoiser.

    Args:
        name: The error: "mse", "l1" or "huber" (threshold 1).
        weight: How noise levels are weighted: "min_snr" (arXiv:2303.09556), "clamped_snr", "p2" (arXiv:2204.00227), or
            "none"; `loss` has the equations.
        gamma: The parameter of the weight. None means 5 for "min_snr", 1 for "p2" and 8 for "clamped_snr".
        timestep_density: How timesteps are drawn: "uniform", or "logit_normal", where t / T = sigmoid(mean + std * n)
            with n normal (arXiv:2403.03206, eq. 19).
        logit_mean: The mean of "logit_normal": higher means noisier samples.
        logit_std: The std of "logit_normal".
        object_weight: m on an object; next to it nearly as much. Elsewhere, and where the network gets no places, m
            is 1. Needs a model with a layout.

    Raises:
        UserError: An unknown choice, or a number out of range.
    """

    def __init__(
        self,
        name: LossName = "mse",
        weight: LossWeight = "none",
        gamma: float | None = None,
        timestep_density: TimestepDensity = "uniform",
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        object_weight: float = 1.0,
    ) -> None:
        check_choice("name", name, get_args(LossName))
        check_choice("weight", weight, get_args(LossWeight))
        check_choice("timestep_density", timestep_density, get_args(TimestepDensity))
        check_finite("logit_mean", logit_mean)
        check_positive("logit_std", logit_std)
        check_positive("object_weight", object_weight)
        if gamma is not None:
            check_positive("gamma", gamma)
            if weight == "none":
                raise UserError(f"`gamma` must not be given for `weight` 'none', got {gamma}")
        self.name, self.weight, self.gamma = name, weight, gamma
        self.timestep_density, self.logit_mean, self.logit_std = timestep_density, logit_mean, logit_std
        self.object_weight = object_weight

    def check_fits(self, denoiser: Denoiser) -> None:
        """Raise `UserError` unless the loss can train this model."""
        if self.object_weight != 1 and not denoiser.space.has_layout:
            raise UserError(
                "`object_weight` must be 1 for a model with `layout_scale` 0, which gets no masks; "
                f"got {self.object_weight}"
            )

    def __call__(self, model: Callable[..., Any], batch: Batch) -> dict[str, torch.Tensor]:
        """The terms of the loss for a batch.

        Args:
            model: A `Denoiser`, or one that accelerate has wrapped.
            batch: B training samples. Its random numbers decide the noise, the timesteps, and which labels and layouts
                are dropped.

        Returns:
            The weighted terms by name, each a scalar mean over the batch. Their sum is the loss.
        """
        denoiser: Denoiser = extract_model_from_parallel(model, keep_fp32_wrapper=True)
        config, space, noise_scheduler = denoiser.config, denoiser.space, denoiser.noise_scheduler
        self.check_fits(denoiser)
        uniforms = batch["uniforms"]

        # the noisy samples
        layout, noise = space.make_layout(batch["masks"]), batch["noise"]
        clean = space.encode(batch["clean_images"], layout)
        timesteps = self.draw_timesteps(uniforms[:, FOR_TIMESTEP], denoiser)
        noisy = noise_scheduler.add_noise(clean, noise, timesteps)  # pyright: ignore[reportArgumentType]
        noisy = space.without_layout(noisy, uniforms[:, FOR_LAYOUT] < config["layout_dropout"])

        # what the network should predict from them, and how much an error counts
        if config["prediction_type"] == "v_prediction":
            target = noise_scheduler.get_velocity(clean, noise, timesteps)  # pyright: ignore[reportArgumentType]
        else:
            target = clean if config["prediction_type"] == "sample" else noise
        weights = loss_weights(denoiser.alpha_bar(timesteps), config["prediction_type"], self.weight, self.gamma)
        weights = weights[:, None, None, None]
        has_places = (uniforms[:, FOR_LAYOUT] >= config["places_dropout"])[:, None, None, None]
        image_weights = weights * self._pixel_weights(batch["masks"], has_places, space)

        # what it is conditioned on
        conditions = batch["class_labels"]
        if denoiser.clusters is not None:
            conditions = denoiser.clusters.nearest(batch["clean_images"])
        class_labels = conditions * (uniforms[:, FOR_LABELS] >= config["condition_dropout"])[:, None]
        class_labels = torch.cat([class_labels, batch["augment_labels"]], dim=1)
        places, place_map = None, None
        if layout is not None:
            places = places_in(batch["masks"], space, max(batch["most_labels"], 1))
            place_map = has_places * make_place_map(space, places, batch["masks"], layout)

        # what it predicts, and how well its detailer sharpens that
        detail = None
        if denoiser.detailer is None:
            prediction = model(noisy, timesteps, class_labels, place_map)
        else:
            rows, counts = _detail_rows(batch["positions"])
            where = uniforms[rows, FOR_WINDOW]
            prediction, detailed = model(noisy, timesteps, class_labels, place_map, (rows, where))
            wanted = denoiser.detailer.windows(target[rows], where)
            sees = counts & (timesteps[rows] < denoiser.detailer.num_timesteps)
            detail_weights = denoiser.detailer.windows(image_weights[rows], where) * sees[:, None, None, None]
            errors = self._errors(space.parts(detailed)[0], space.parts(wanted)[0], detail_weights)
            detail = errors.sum() / (len(clean) / _DETAIL_EVERY)

        # the terms
        image, wanted_image = space.parts(prediction)[0], space.parts(target)[0]
        terms = {"image": self._errors(image, wanted_image, image_weights).mean()}
        if space.has_layout:
            errors = self._errors(space.layout(prediction), space.layout(target), weights)
            terms["layout"] = LAYOUT_WEIGHT * errors.mean()
        if denoiser.placer is not None and places is not None:
            losses = denoiser.placer.loss(batch["class_labels"], places, batch["place_uniforms"])
            terms["places"] = PLACES_WEIGHT * losses.mean()
        if detail is not None:
            terms["detail"] = detail
        return terms

    def _errors(self, prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(B,) weighted errors of (B, C, H, W) predictions."""
        return (weights * _ERRORS[self.name](prediction, target, reduction="none")).mean(dim=(1, 2, 3))

    def _pixel_weights(self, masks: torch.Tensor, has_places: torch.Tensor, space: SampleSpace) -> torch.Tensor:
        """m for each pixel, arranged as the image's part of (B, *space.shape) samples."""
        if self.object_weight == 1:
            return masks.new_ones(len(masks), 1, *space.shape[1:], dtype=torch.float32)
        covered = F.adaptive_avg_pool2d((masks > 0).float(), space.sample_size)
        near = has_places * F.max_pool2d(covered, 3, stride=1, padding=1)
        of_channel = F.pixel_unshuffle(1 + (self.object_weight - 1) * near, space.patch_size)
        return of_channel.repeat(1, space.in_channels, 1, 1)

    def draw_timesteps(self, uniforms: torch.Tensor, denoiser: Denoiser) -> torch.Tensor:
        """(B,) uniform numbers in [0, 1) as (B,) timesteps of the model, by the density's inverse distribution."""
        if self.timestep_density == "logit_normal":
            normals = math.sqrt(2) * torch.erfinv(2 * uniforms - 1)
            uniforms = torch.sigmoid(self.logit_mean + self.logit_std * normals)
        count = denoiser.config["num_train_timesteps"]
        return (uniforms * count).long().clamp(0, count - 1)


def _detail_rows(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that the detailer learns from: those of every fourth position, however the stream is cut into batches.

    Returns:
        (ceil(B / 4),) rows, and whether each of them counts: the last one may stand in for a missing one.
    """
    count = -(-len(positions) // _DETAIL_EVERY)
    rows = -positions[0] % _DETAIL_EVERY + _DETAIL_EVERY * torch.arange(count, device=positions.device)
    rows = rows.clamp(max=len(positions) - 1)
    return rows, positions[rows] % _DETAIL_EVERY == 0


def loss_weights(
    alpha_bar: torch.Tensor, prediction_type: str, weight: str, gamma: float | None = None
) -> torch.Tensor:
    """The weight w(t) of the prediction's error for each of the (...) `alpha_bar`: (...)."""
    if weight == "none":
        return torch.ones_like(alpha_bar)
    gamma = _GAMMAS[weight] if gamma is None else gamma
    snr = alpha_bar / (1 - alpha_bar)
    if weight == "min_snr":
        clean_weight = snr.clamp(max=gamma)
    elif weight == "clamped_snr":
        clean_weight = (snr + 1).clamp(max=gamma)
    else:
        clean_weight = snr * (1 + snr) ** -gamma
    return clean_weight * {"sample": 1.0, "epsilon": 1 / snr, "v_prediction": 1 / (snr + 1)}[prediction_type]

"""The denoiser: the network, and the clean image that it predicts from a noisy one.

    prediction  = unet(x_t, t, label_embedding(c)),          label_embedding = Linear(num_labels -> 4 * channels[0])
    x_0(x_t, c) = clip(the clean sample that the guided prediction implies)            see `noise`, `guidance`

c is a multi-hot vector, so the embedding of a condition is the sum of the embeddings of its labels. The *null label*
is the zero vector: no condition at all. `condition_dropout` trains it, and classifier-free guidance needs it.

The *sample* x is what is noised and denoised: the image in patches and, if the model has one, the layout
(`sample_space`, `layout`). A model with a layout also gets the places of the objects (`place_map`). A model with a
detailer sharpens what the UNet predicts (`detailer`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.augmentation import NUM_AUGMENT_LABELS
from lab_ddpm.data.conditions import Condition, encode, parse_conditions, to_rows
from lab_ddpm.data.images import Size, height_width
from lab_ddpm.diffusion.checked_weights import CheckedWeights
from lab_ddpm.diffusion.clusters import Clusters
from lab_ddpm.diffusion.denoiser_settings import BetaSchedule, PredictionType, check_denoiser_settings
from lab_ddpm.diffusion.detailer import Detailer
from lab_ddpm.diffusion.guidance import guided
from lab_ddpm.diffusion.noise import alpha_bar_at, make_noise_scheduler, to_clean
from lab_ddpm.diffusion.placer import Placer
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.diffusion.unet import make_unet


class Denoiser(CheckedWeights, ModelMixin, ConfigMixin):
    """A label-conditional diffusion model.

    Args:
        labels: The names of the labels in the order of the multi-hot vector; empty for an unconditional model.
        sample_size: Size of the images, see `images.Size`.
        in_channels: Channels of the images: 1 or 3.
        patch_size: Factor of the pixel-unshuffle in front of the UNet; 1 for none.
        layout_scale: Factor of the layout; 0 for a model without one. Recommended: 2. A model with a layout gets the
            places of the objects, see `place_map`, and has a `placer`, which decides them.
        block_out_channels: Channels of each level of the UNet. Each level has half the resolution of the one before.
        layers_per_block: Residual blocks in each level.
        attention_levels: The levels with self-attention, counted from 0. The middle block always has it.
        attention_head_dim: Channels of each attention head.
        resnet_time_scale_shift: How the embedding enters a residual block: "default" (added) or "scale_shift".
        norm_num_groups: Groups of channels that are normalised together.
        detail_channels: Channels of each level of the network that adds detail, see `detailer`; empty for a model
            without one. Recommended: 32, 96.
        detail_share: The share of the timesteps that get detail, counted from the least noisy. Recommended: 1 with a
            layout.
        num_train_timesteps: T, the number of noise levels.
        beta_schedule: The noise schedule, as diffusers' `DDPMScheduler` names it.
        prediction_type: What the network predicts, see `noise`.
        clip_sample: Whether the predicted clean sample is clipped, its image to [-1, 1]. At the noisiest timestep of
            squaredcos_cap_v2 the signal is 5e-5 of the image, and an error of the predicted noise is divided by it.
        layout_dropout: The share of the training samples whose noisy layout is replaced by zeros, which mean "unknown".
            A model that reads images needs a value above 0.
        places_dropout: The share of the training samples without their places. It includes those without a layout,
            so it must be at least `layout_dropout`. At 0, a model with a layout cannot draw without places.
        condition_dropout: The share of the training samples whose labels are replaced by the null label
            (arXiv:2207.12598). At 0, a conditional model can neither be guided nor be sampled with the null label.
        augmentation: The share of the training images to which each change of `data.augmentation` is applied. The
            network is conditioned on the changes.
        num_clusters: For a model without labels: the number of clusters. It is conditioned on one for each image, see
            `clusters`. Recommended: 64, with `condition_dropout` 0.1.
        unet_options: Further arguments of diffusers' `UNet2DModel`, such as `act_fn`.

    Attributes:
        space: The space of the samples that it denoises.
        place_map_channels: Channels of a place map, which the UNet reads beside the sample, see `place_map`.
        noise_scheduler: Its training noise.

    Raises:
        UserError: A value that is out of range or does not fit the others.
    """

    @register_to_config
    def __init__(
        self,
        labels: Sequence[str] = (),
        sample_size: Size = 64,
        in_channels: int = 3,
        patch_size: int = 1,
        layout_scale: float = 0.0,
        block_out_channels: Sequence[int] = (128, 128, 256, 256, 512, 512),
        layers_per_block: int = 2,
        attention_levels: Sequence[int] = (4,),
        attention_head_dim: int = 8,
        resnet_time_scale_shift: Literal["default", "scale_shift"] = "default",
        norm_num_groups: int = 32,
        detail_channels: Sequence[int] = (),
        detail_share: float = 0.6,
        num_train_timesteps: int = 1000,
        beta_schedule: BetaSchedule = "squaredcos_cap_v2",
        prediction_type: PredictionType = "epsilon",
        clip_sample: bool = True,
        layout_dropout: float = 0.0,
        places_dropout: float = 0.0,
        condition_dropout: float = 0.0,
        augmentation: float = 0.0,
        num_clusters: int = 0,
        unet_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_denoiser_settings(self.config)
        self.space = SampleSpace(height_width(sample_size), in_channels, patch_size, len(labels), layout_scale)
        self.noise_scheduler = make_noise_scheduler(num_train_timesteps, beta_schedule)
        self.placer = Placer(self.space) if self.space.has_layout else None
        self.place_map_channels = self.space.layout_channels + patch_size**2 if self.placer is not None else 0
        self.clusters = Clusters(num_clusters, in_channels) if num_clusters else None
        num_embedded = len(labels) + num_clusters + NUM_AUGMENT_LABELS * (augmentation > 0)
        self.unet = make_unet(
            self.space,
            self.place_map_channels,
            num_embedded > 0,
            block_out_channels,
            attention_levels,
            unet_options or {},
            layers_per_block=layers_per_block,
            attention_head_dim=attention_head_dim,
            resnet_time_scale_shift=resnet_time_scale_shift,
            norm_num_groups=norm_num_groups,
        )
        self.label_embedding = nn.Linear(num_embedded, 4 * block_out_channels[0]) if num_embedded else None
        num_detailed = math.ceil(detail_share * num_train_timesteps)
        self.detailer = Detailer(self.space, detail_channels, num_detailed) if detail_channels else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a condition may name; empty for an unconditional model."""
        return tuple(self.config["labels"])

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network. The placer and the clusters are always in float32."""
        return self.unet.conv_in.weight.dtype

    def class_labels(self, conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any]) -> torch.Tensor:
        """(B, num_labels) multi-hot rows, see `conditions.to_rows`; an empty condition is the null label.

        Rows are returned as they are, including the (B, K, num_labels) rows of composed conditions (`guidance`).

        Raises:
            UserError: A label that the model does not know, or one that a condition names twice; rows of another shape.
        """
        return to_rows(conditions, self.labels).to(self.device)

    def compose(self, all_of: Sequence[str | Condition] = (), none_of: Sequence[str | Condition] = ()) -> torch.Tensor:
        """One composed condition: all of the first conditions hold, and none of the others, see `guidance`.

        It is (K, num_labels) float32 of 0, 1 and -1; `torch.stack` joins several to (B, K, num_labels). Raises the
        errors of `class_labels`.
        """
        rows = encode(parse_conditions([*all_of, *none_of], self.labels), self.labels)
        rows[len(all_of) :] *= -1
        return rows.to(self.device)

    def alpha_bar(self, timesteps: torch.Tensor) -> torch.Tensor:
        """abar of the training noise, float32, at (...) timesteps in [0, T - 1], which may be fractions."""
        levels = self.noise_scheduler.alphas_cumprod.to(timesteps.device)
        self.noise_scheduler.alphas_cumprod = levels  # they stay there, as after `add_noise`
        return alpha_bar_at(levels, timesteps)

    def forward(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
        windows: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Any:
        """What the network predicts: noise, clean sample or velocity, according to `prediction_type`.

        Args:
            noisy: (B, *space.shape) samples x_t, with a variance of about 1.
            timesteps: (B,) in [0, T - 1]; or one for all, a scalar on the CPU, which is read without making a GPU wait.
            class_labels: (B, num_labels) multi-hot or mixtures; for a model with clusters, (B, num_clusters).
                Augmentation labels may follow; missing columns count as zeros.
            place_map: (B, place_map_channels, H / p, W / p), see `place_map`; None, or zeros for a sample: "unknown".
            windows: Only for training a detailer: the (K,) rows that get detail, and (K, 2) in [0, 1), where they get
                it, see `Detailer.windows`.

        Returns:
            float32 of the shape of `noisy`. With `windows`, a pair: the prediction without detail, and windows of the
            prediction with detail, through which no gradient reaches the UNet.
        """
        if place_map is None and self.place_map_channels:
            place_map = noisy.new_zeros(len(noisy), self.place_map_channels, *noisy.shape[2:])
        times = timesteps if timesteps.ndim else noisy.new_full((1,), timesteps.item())
        prediction = self.predict_without_detail(noisy, times, class_labels, place_map)
        if self.detailer is None:
            return prediction
        alpha_bar = self.alpha_bar(timesteps)
        if windows is None:
            gets_detail = timesteps < self.detailer.num_timesteps
            return self.detailer.sharpen(prediction, noisy, times, alpha_bar, place_map, gets_detail)
        return prediction, self.detailer.sharpen_windows(prediction, noisy, times, alpha_bar, place_map, *windows)

    def predict_without_detail(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the UNet predicts: `forward` without the detailer. A model with a layout needs a `place_map`."""
        embedding = None
        if self.label_embedding is not None:
            num_missing = self.label_embedding.in_features - class_labels.shape[1]
            labels = F.pad(class_labels, (0, num_missing))  # zeros: of no cluster, not changed
            embedding = self.label_embedding(labels.to(self.dtype))
        if place_map is not None:
            noisy = torch.cat([noisy, place_map], dim=1)
        return self.unet(noisy.to(self.dtype), timesteps, class_labels=embedding).sample.float()

    @torch.no_grad()
    def predict_clean(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        class_labels: torch.Tensor,
        guidance_scale: float = 1.0,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The guided and clipped clean sample, float32 of the shape of `noisy`.

        Args:
            noisy, place_map: See `forward`.
            timestep: Scalar in [0, T - 1], on the CPU.
            class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, see `guidance`.
            guidance_scale: 1 is unguided.
        """

        def predict(samples: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:  # of each sample once or several times
            maps = None if place_map is None else place_map.repeat(len(samples) // len(place_map), 1, 1, 1)
            return self(samples, timestep, rows, maps)

        prediction = guided(predict, noisy, class_labels, guidance_scale)
        clean = to_clean(prediction, noisy, self.alpha_bar(timestep), self.config["prediction_type"])
        return self.space.clip(clean) if self.config["clip_sample"] else clean

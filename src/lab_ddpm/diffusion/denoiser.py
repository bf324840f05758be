"""The denoiser: the network, and the clean image that it predicts from a noisy one.

    prediction  = unet(x_t, t, label_embedding(c)),          label_embedding = Linear(num_labels -> 4 * channels[0])
    x_0(x_t, c) = clip(the clean sample that the guided prediction implies)            see `noise`, `guidance`

c is a multi-hot vector, so the embedding of a condition is the sum of the embeddings of its labels. The *null label*
is the zero vector: no condition at all. `condition_dropout` trains it, and classifier-free guidance needs it.

The *sample* x is what is noised and denoised: the image in patches and, if the model has one, the layout
(`sample_space`, `layout`).

The UNet is an attribute, not a base class. If a `class_embedding` is set on a finished `UNet2DModel`, `from_pretrained`
loses it; the `config.json` of this model describes it completely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.augmentation import NUM_AUGMENT_LABELS
from lab_ddpm.data.conditions import Condition, to_rows
from lab_ddpm.data.images import Size, height_width
from lab_ddpm.diffusion.checked_weights import CheckedWeights
from lab_ddpm.diffusion.detailer import Detailer
from lab_ddpm.diffusion.guidance import compose, guided
from lab_ddpm.diffusion.noise import alpha_bar_at, make_noise_scheduler, to_clean
from lab_ddpm.diffusion.placer import Placer
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.diffusion.unet import make_unet
from lab_ddpm.tools.errors import UserError, check_at_least, check_choice, check_positive, check_share

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]


class Denoiser(CheckedWeights, ModelMixin, ConfigMixin):
    """A label-conditional diffusion model.

    Args:
        labels: The names of the labels in the order of the multi-hot vector; empty for an unconditional model.
        sample_size: Size of the images, see `images.Size`.
        in_channels: Channels of the images: 1 or 3.
        patch_size: Factor of the pixel-unshuffle in front of the UNet; 1 for none.
        layout_scale: Factor of the layout; 0 for a model without one. Recommended: 2. A model with a layout is told
            where the objects stand, see `places`, and has a `placer`, which decides it.
        block_out_channels: Channels of each level of the UNet. Each level has half the resolution of the one before.
        layers_per_block: Residual blocks in each level.
        attention_levels: The levels with self-attention, counted from 0. The middle block always has it.
        attention_head_dim: Channels of each attention head.
        resnet_time_scale_shift: How the embedding enters a residual block: "default" (added) or "scale_shift".
        norm_num_groups: Groups of channels that are normalised together.
        detail_channels: Channels of each level of the network that adds detail, see `detailer`; empty for a model
            without one. Recommended: 32, 96.
        detail_share: The share of the timesteps that get detail, counted from the least noisy.
        num_train_timesteps: T, the number of noise levels.
        beta_schedule: The noise schedule, as diffusers' `DDPMScheduler` names it.
        prediction_type: What the network predicts, see `noise`.
        clip_sample: Whether the predicted clean sample is clipped, its image to [-1, 1]. At the noisiest timestep of
            squaredcos_cap_v2 the signal is 5e-5 of the image, and an error of the predicted noise is divided by it.
        layout_dropout: The share of the training samples whose noisy layout is replaced by zeros, which mean "unknown".
            A model that reads images needs a value above 0.
        places_dropout: The share of the training samples whose places are not told. It includes those without a layout,
            so it must be at least `layout_dropout`. At 0, a model with a layout cannot draw without places.
        condition_dropout: The share of the training samples whose labels are replaced by the null label
            (arXiv:2207.12598). At 0, a conditional model can neither be guided nor be sampled with the null label.
        augmentation: The share of the training images to which each change of `data.augmentation` is applied. The
            network is told of the changes.
        unet_options: Further arguments of diffusers' `UNet2DModel`, such as `act_fn`.

    Attributes:
        space: The space of the samples that it denoises.
        noise_scheduler: Its training noise.
        runtime: What computes `forward` instead of PyTorch, see `generation.onnx_runtime`; None for PyTorch.

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
        unet_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_choice("beta_schedule", beta_schedule, get_args(BetaSchedule))
        check_choice("prediction_type", prediction_type, get_args(PredictionType))
        check_at_least("num_train_timesteps", num_train_timesteps, 2)
        check_at_least("patch_size", patch_size, 1)
        check_at_least("layout_scale", layout_scale, 0)
        check_positive("detail_share", detail_share)
        check_share("detail_share", detail_share)
        for channels in detail_channels:
            check_at_least("detail_channels", channels, 1)
        _check_size(height_width(sample_size), patch_size, len(block_out_channels), len(detail_channels))
        for name, value in {"layout_scale": layout_scale, "condition_dropout": condition_dropout}.items():
            if value and not labels:
                raise UserError(f"`{name}` must be 0 for a model without labels, got {value}")
        for name, value in {"layout_scale": layout_scale, "detail_channels": detail_channels}.items():
            # where the layout is unknown, the noise on it cannot be predicted; a detailer needs the clean image
            if value and prediction_type != "sample":
                raise UserError(f"`prediction_type` must be 'sample' for `{name}` {value}, got {prediction_type!r}")
        of_layout = {"layout_dropout": layout_dropout, "places_dropout": places_dropout}
        for name, value in {**of_layout, "condition_dropout": condition_dropout}.items():
            if not 0 <= value < 1:
                raise UserError(f"`{name}` must be in [0, 1), got {value}")
        for name, value in of_layout.items():
            if value and not layout_scale:
                raise UserError(f"`{name}` must be 0 for a model without a layout, got {value}")
        check_at_least("places_dropout", places_dropout, layout_dropout)
        check_share("augmentation", augmentation)
        if augmentation and layout_scale:
            raise UserError(f"`augmentation` must be 0 for a model with a layout, got {augmentation}")
        self.space = SampleSpace(height_width(sample_size), in_channels, patch_size, len(labels), layout_scale)
        num_embedded = len(labels) + NUM_AUGMENT_LABELS * (augmentation > 0)
        self.unet = make_unet(
            self.space.shape,
            self.space.layout_channels,
            block_out_channels,
            layers_per_block,
            attention_levels,
            attention_head_dim,
            resnet_time_scale_shift,
            norm_num_groups,
            num_embedded > 0,
            unet_options,
        )
        self.label_embedding = nn.Linear(num_embedded, 4 * block_out_channels[0]) if num_embedded else None
        self.placer = Placer(self.space) if self.space.has_layout else None
        self.detailer = Detailer(self.space, detail_channels) if detail_channels else None
        self.noise_scheduler = make_noise_scheduler(num_train_timesteps, beta_schedule)
        self._alphas_cumprod = self.noise_scheduler.alphas_cumprod  # on the CPU: `add_noise` moves the scheduler's own
        self.runtime: Callable[..., torch.Tensor] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a condition may name; empty for an unconditional model."""
        return tuple(self.config["labels"])

    @property
    def num_detailed_timesteps(self) -> int:
        """The timesteps below this one get detail, if there is a detailer."""
        return math.ceil(self.config["detail_share"] * self.config["num_train_timesteps"])

    def gets_detail(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Which of the timesteps get detail, if there is a detailer."""
        return timesteps < self.num_detailed_timesteps

    def null_labels(self, count: int) -> torch.Tensor:
        """(count, num_labels): no condition at all."""
        return torch.zeros(count, len(self.labels), device=self.device)

    def class_labels(self, conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any]) -> torch.Tensor:
        """(B, num_labels) multi-hot rows, see `conditions.to_rows`; an empty condition is the null label.

        Rows are returned as they are, including the (B, K, num_labels) rows of composed conditions (`guidance`).

        Raises:
            UserError: A label that the model does not know, or one that a condition names twice; rows of another shape.
        """
        return to_rows(conditions, self.labels).to(self.device)

    def compose(self, all_of: Sequence[str | Condition] = (), none_of: Sequence[str | Condition] = ()) -> torch.Tensor:
        """One composed condition, (K, num_labels), see `guidance`; `torch.stack` joins several to (B, K, num_labels).

        Raises:
            UserError: A label that the model does not know, or one that a condition names twice.
        """
        return compose(all_of, none_of, self.labels).to(self.device)

    def alpha_bar(self, timesteps: torch.Tensor) -> torch.Tensor:
        """abar of the training noise, float32, at (...) timesteps in [0, T - 1], which may be fractions."""
        is_on_cpu = timesteps.device.type == "cpu"
        levels = self._alphas_cumprod if is_on_cpu else self.noise_scheduler.alphas_cumprod.to(timesteps.device)
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
            class_labels: (B, num_labels) multi-hot or mixtures; an unconditional model ignores them. In training, what
                tells of the changes may follow them.
            place_map: (B, layout_channels, H / p, W / p), see `places`; None, or zeros for a sample, means "unknown".
            windows: Only for training a detailer: the (K,) rows that get detail, and (K, 2) in [0, 1), where they get
                it, see `Detailer.windows`.

        Returns:
            float32 of the shape of `noisy`. With `windows`, a pair: the prediction without detail, and the windows of
            the prediction with detail. No gradient reaches the UNet through these windows.
        """
        if place_map is None and self.space.has_layout:
            place_map = noisy.new_zeros(len(noisy), self.space.layout_channels, *noisy.shape[2:])
        if self.runtime is not None:
            return self.runtime(noisy, timesteps, class_labels, place_map)
        times = timesteps if timesteps.ndim else noisy.new_full((1,), timesteps.item())
        prediction = self.predict_without_detail(noisy, times, class_labels, place_map)
        gets_detail = self.gets_detail(timesteps)
        if self.detailer is None or (timesteps.ndim == 0 and not gets_detail):
            return prediction
        alpha_bar = self.alpha_bar(timesteps)
        if timesteps.ndim == 0:
            return self.detailer(prediction, noisy, times, alpha_bar)
        alpha_bar = alpha_bar.reshape(-1, 1, 1, 1)
        if windows is None:
            detailed = self.detailer(prediction, noisy, times, alpha_bar)
            return torch.where(gets_detail.reshape(-1, 1, 1, 1), detailed, prediction)
        rows, where = windows
        predicted, seen = (self.detailer.windows(of[rows], where) for of in (prediction.detach(), noisy))
        return prediction, self.detailer(predicted, seen, times[rows], alpha_bar[rows])

    def predict_without_detail(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        class_labels: torch.Tensor,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the UNet predicts: `forward` without the detailer. A model with a layout needs a `place_map`."""
        dtype = self.unet.conv_in.weight.dtype  # `self.dtype` looks at all weights each time
        embedding = None
        if self.label_embedding is not None:
            told = F.pad(class_labels, (0, self.label_embedding.in_features - class_labels.shape[1]))  # not changed
            embedding = self.label_embedding(told.to(dtype))
        if place_map is not None:
            noisy = torch.cat([noisy, place_map], dim=1)
        return self.unet(noisy.to(dtype), timesteps, class_labels=embedding).sample.float()

    @torch.no_grad()
    def predict_clean(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        class_labels: torch.Tensor,
        guidance_scale: float = 1.0,
        place_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The guided and clipped clean sample.

        Args:
            noisy: (B, *space.shape) samples x_t.
            timestep: Scalar in [0, T - 1], on the CPU.
            class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, see `guidance`.
            guidance_scale: 1 is unguided.
            place_map: See `forward`.

        Returns:
            float32 of the shape of `noisy`.
        """

        def predict(samples: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:  # of each sample once or several times
            maps = None if place_map is None else place_map.repeat(len(samples) // len(place_map), 1, 1, 1)
            return self(samples, timestep, rows, maps)

        prediction = guided(predict, noisy, class_labels, guidance_scale)
        clean = to_clean(prediction, noisy, self.alpha_bar(timestep), self.config["prediction_type"])
        return self.space.clip(clean) if self.config["clip_sample"] else clean


def _check_size(size: tuple[int, int], patch_size: int, levels: int, detail_levels: int) -> None:
    """Raise `UserError` unless the sides of the images can be halved at every level of the networks."""
    unit = math.lcm(patch_size * 2 ** max(levels - 1, 0), 2 ** max(detail_levels - 1, 0))
    for side in size:
        check_at_least("sample_size", side, 1)
        if side % unit:
            raise UserError(
                f"`sample_size` must be a multiple of {unit} for this model (`patch_size` times 2 for each level after "
                f"the first), got {side}"
            )

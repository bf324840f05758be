"""The denoiser: the network, the noise that it was made for, its training loss, and the clean image that it sees.

    emb         = time_embedding(t) + label_embedding(c),     label_embedding = Linear(num_labels -> 4 * channels[0])
    loss        = E[ w(t) l(prediction(x_t, t, c), target) ]                                see `noise`, `loss_weights`
    x_0(x_t, c) = clip(the clean image that the guided prediction implies)                see `guidance`

c is a multi-hot vector, so the embedding of a condition is the sum of the embeddings of its objects. The *null label*,
under which there is no condition, is the zero vector; `condition_dropout` trains it, classifier-free guidance needs it,
and s = 1 is the unguided model.

What is noised and denoised is the *sample* x: the image in patches, and beside it what stands where (`sample_space`,
`layout`).

The UNet is held, not inherited from: a `class_embedding` that is set on a `UNet2DModel` after its construction is
lost by `from_pretrained`, while this model's `config.json` describes it completely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import nn

from lab_ddpm.data.batches import Sample
from lab_ddpm.data.conditions import Condition, to_rows
from lab_ddpm.data.images import Size, height_width
from lab_ddpm.diffusion.detailer import Detailer
from lab_ddpm.diffusion.guidance import compose, guided
from lab_ddpm.diffusion.loss_weights import LOSS_WEIGHTS, TIMESTEP_DENSITIES, draw_timesteps, loss_weights
from lab_ddpm.diffusion.network import make_unet
from lab_ddpm.diffusion.noise import (
    BETA_SCHEDULES,
    PREDICTION_TYPES,
    NoiseLevels,
    add_noise,
    to_clean,
    training_target,
)
from lab_ddpm.diffusion.sample_space import SampleSpace
from lab_ddpm.tools.checksums import check_sums, write_sums
from lab_ddpm.tools.errors import DataError, UserError, check_choice, check_positive
from lab_ddpm.tools.weights import naming_disk_errors

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
LAYOUT_WEIGHT = 1 / 3  # of the layout's loss, which is that of the layout before it is scaled


@dataclass(frozen=True)
class Loss:
    """The terms of a training loss by name, scalars that are weighted already."""

    terms: dict[str, torch.Tensor]

    @property
    def total(self) -> torch.Tensor:
        """Their sum, to go backward from."""
        return torch.stack(list(self.terms.values())).sum()


class Denoiser(ModelMixin, ConfigMixin):
    """A label-conditional diffusion model.

    Args:
        labels: The names of the labels in the order of the multi-hot vector; empty for an unconditional model.
        sample_size: Of the images, see `images.Size`; divisible by `patch_size`.
        in_channels: Channels of the images.
        patch_size: Factor of the pixel-unshuffle in front of the UNet; 1 for none.
        layout_scale: What the layout is multiplied by; 0 for a model without one.
        block_out_channels, layers_per_block, attention_levels, attention_head_dim, resnet_time_scale_shift,
            norm_num_groups: See `network.make_unet`.
        detail_channels: Of each level of the network that adds detail, see `detailer`; empty for a model without one.
        detail_share: Of the timesteps, the less noisy ones: which get detail.
        num_train_timesteps: T, the number of noise levels.
        beta_schedule: One of `noise.BETA_SCHEDULES`.
        prediction_type: What the network predicts, one of `noise.PREDICTION_TYPES`.
        clip_sample: Whether the predicted clean sample is clipped, its image to [-1, 1]. At the noisiest step of
            squaredcos_cap_v2 the signal is 5e-5 of the image, and an error of the predicted noise is divided by it.
        loss: "mse", "l1" or "huber" (threshold 1).
        loss_weight, loss_weight_gamma: See `loss_weights.loss_weights`.
        timestep_density, logit_mean, logit_std: See `loss_weights.draw_timesteps`.
        layout_dropout: Probability that a training sample's noisy layout is replaced by zeros, which stand for an
            unknown one: reading images needs it.
        condition_dropout: Probability that a training sample's labels are replaced by the null label
            (arXiv:2207.12598). Without any, a conditional model is neither guided nor sampled under that label.
        detail_only: Whether the detailer alone learns, from those timesteps that get detail.

    Attributes:
        space: The samples that it denoises.
        alpha_bar: Its noise schedule.
        runtime: What computes `predict` in PyTorch's place, as `sampling.onnx_runtime`; None for nothing.

    Raises:
        UserError: An unknown choice.
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
        resnet_time_scale_shift: str = "default",
        norm_num_groups: int = 32,
        detail_channels: Sequence[int] = (),
        detail_share: float = 0.6,
        num_train_timesteps: int = 1000,
        beta_schedule: str = "squaredcos_cap_v2",
        prediction_type: str = "epsilon",
        clip_sample: bool = True,
        loss: str = "mse",
        loss_weight: str = "none",
        loss_weight_gamma: float | None = None,
        timestep_density: str = "uniform",
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        layout_dropout: float = 0.0,
        condition_dropout: float = 0.0,
        detail_only: bool = False,
    ) -> None:
        super().__init__()
        check_choice("beta_schedule", beta_schedule, BETA_SCHEDULES)
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("loss", loss, LOSSES)
        check_choice("loss_weight", loss_weight, LOSS_WEIGHTS)
        check_choice("timestep_density", timestep_density, TIMESTEP_DENSITIES)
        if layout_scale and not labels:
            raise UserError(f"`layout_scale` must be 0 for a model without labels, got {layout_scale}")
        if layout_scale and prediction_type != "sample":
            # noise that is independent of all that the network sees cannot be predicted where the layout is unknown
            raise UserError(f"`layout_scale` must be 0 for `prediction_type` {prediction_type!r}, got {layout_scale}")
        if detail_channels and prediction_type != "sample":
            raise UserError(f"`detail_channels` must be empty for `prediction_type` {prediction_type!r}")
        if detail_only and not detail_channels:
            raise UserError("`detail_only` must be false without `detail_channels`")
        self.space = SampleSpace(height_width(sample_size), in_channels, patch_size, len(labels), layout_scale)
        self.unet = make_unet(
            size=self.space.shape[1:],
            in_channels=self.space.shape[0],
            out_channels=self.space.shape[0],
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            attention_levels=attention_levels,
            attention_head_dim=attention_head_dim,
            resnet_time_scale_shift=resnet_time_scale_shift,
            norm_num_groups=norm_num_groups,
            takes_embedding=bool(labels),
        )
        self.label_embedding = nn.Linear(len(labels), 4 * block_out_channels[0]) if labels else None
        self.requires_grad_(not detail_only)  # what is there so far: the network of patches
        self.detailer = Detailer(self.space, detail_channels) if detail_channels else None
        self.alpha_bar = NoiseLevels(num_train_timesteps, beta_schedule)
        self.runtime: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
        self._loss_weights = loss_weights(
            self.alpha_bar.alphas_cumprod, prediction_type, loss_weight, loss_weight_gamma
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:
        """As in diffusers, which leaves weights random that it does not find, with a warning; here that is an error.

        Raises:
            DataError: Weights are missing, unknown or damaged.
        """
        check_sums(pretrained_model_name_or_path)
        options |= {"output_loading_info": True, "low_cpu_mem_usage": False}
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, **options)
        denoiser, info = loaded
        if misfits := [key for keys in info.values() for key in keys]:
            place = pretrained_model_name_or_path
            raise DataError(
                f"{place}: the weights are those of another model ({len(misfits)} misfits, {misfits[0]} ...)"
            )
        return denoiser

    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **options: Any) -> None:
        """As in diffusers, and the checksums of the weights, which `from_pretrained` looks at."""
        with naming_disk_errors(Path(save_directory)):
            super().save_pretrained(save_directory, *arguments, **options)
        write_sums(Path(save_directory), [file.name for file in Path(save_directory).glob("*.safetensors")])

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model is conditional on; empty for an unconditional one."""
        return tuple(self.config["labels"])

    @property
    def _detailed_below(self) -> float:
        return self.config["detail_share"] * self.config["num_train_timesteps"]

    def null_labels(self, count: int) -> torch.Tensor:
        """(count, num_labels): no condition at all."""
        return torch.zeros(count, len(self.labels), device=self.device)

    def class_labels(self, conditions: Sequence[str | Condition] | torch.Tensor | NDArray[Any]) -> torch.Tensor:
        """(B, num_labels) multi-hot rows, see `conditions.to_rows`; an empty condition is the null label.

        Tensors of rows stay as they are, (B, K, num_labels) of composed conditions (`guidance`) too.

        Raises:
            UserError: A label that the model does not know, or one that a condition names twice; rows of another shape.
        """
        return to_rows(conditions, self.labels).to(self.device)

    def compose(self, all_of: Sequence[str | Condition] = (), none_of: Sequence[str | Condition] = ()) -> torch.Tensor:
        """One composed condition, (K, num_labels), see `guidance`; `torch.stack` makes (B, K, num_labels) of several.

        Raises:
            UserError: A label that the model does not know, or one that a condition names twice.
        """
        return compose(all_of, none_of, self.labels).to(self.device)

    def check_guidance(self, class_labels: torch.Tensor, asked: float | None, own: float) -> float:
        """The guidance scale to sample (B, num_labels) or (B, K, num_labels) rows with: `asked`, or `own` for None.

        Raises:
            UserError: The rows do not fit the model; a scale that is not positive and finite; guidance is asked for
                where there is no condition; or a model that was trained without condition dropout is to be guided or
                sampled under the null label.
        """
        if asked is not None:
            check_positive("guidance_scale", asked)
        if class_labels.ndim not in (2, 3) or class_labels.shape[-1] != len(self.labels):
            raise UserError(
                f"`class_labels` must be (B, {len(self.labels)}) for this model, got {tuple(class_labels.shape)}"
            )
        conditional = class_labels.flatten(1).any(dim=1)
        if not conditional.any():
            if asked is not None and asked != 1.0:
                raise UserError(f"`guidance_scale` must be 1 where there is no condition, got {asked}")
            own, asked = 1.0, None
        scale = own if asked is None else float(asked)
        if self.labels and not self.config["condition_dropout"]:
            if scale != 1.0:
                raise UserError(f"`guidance_scale` must be 1 for a model without condition dropout, got {scale}")
            if class_labels.ndim == 3 or not conditional.all():
                raise UserError("a model trained without condition dropout knows no null label to sample under")
        return scale

    def guidance_at(self, timestep: int, guidance_scale: float, guidance_stop: float) -> float:
        """The guidance scale of a timestep, if the share `guidance_stop` of them is guided, from the noisiest on."""
        return guidance_scale if timestep >= (1 - guidance_stop) * self.config["num_train_timesteps"] else 1.0

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """The model's own prediction, of its `prediction_type`.

        Args:
            noisy: (B, *space.shape) samples x_t, of variance about 1.
            timesteps: (B,) or scalar, in [0, T - 1].
            class_labels: (B, num_labels) multi-hot or mixtures; without a meaning for an unconditional model.

        Returns:
            float32 of the shape of `noisy`.
        """
        if self.runtime is not None:
            return self.runtime(noisy, timesteps, class_labels)
        prediction = self.predict_patches(noisy, timesteps, class_labels)
        if self.detailer is None:
            return prediction
        is_detailed, levels = self.is_detailed(timesteps), (-1, 1, 1, 1)
        if not is_detailed.any():
            return prediction
        detailed = self.detailer(prediction, noisy, timesteps, self.alpha_bar(timesteps).reshape(levels))
        return torch.where(is_detailed.reshape(levels), detailed, prediction)

    def predict_patches(self, noisy: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """What the UNet predicts: `predict` before any detail is added, of the same arguments."""
        embedding = None if self.label_embedding is None else self.label_embedding(class_labels.to(self.dtype))
        return self.unet(noisy.to(self.dtype), timesteps, class_labels=embedding).sample.float()

    def is_detailed(self, timesteps: torch.Tensor) -> torch.Tensor:
        """Which of the timesteps get detail, where there is a detailer."""
        return timesteps < self._detailed_below

    @torch.no_grad()
    def predict_clean(
        self, noisy: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor, guidance_scale: float = 1.0
    ) -> torch.Tensor:
        """The guided and clipped clean sample.

        Args:
            noisy: (B, *space.shape) samples x_t.
            timestep: Scalar in [0, T - 1], on the device of `noisy`.
            class_labels: (B, num_labels), or (B, K, num_labels) of composed conditions, see `guidance`.
            guidance_scale: 1 is unguided.

        Returns:
            float32 of the shape of `noisy`.
        """
        prediction = guided(
            lambda samples, rows: self.predict(samples, timestep, rows), noisy, class_labels, guidance_scale
        )
        clean = to_clean(prediction, noisy, self.alpha_bar(timestep), self.config["prediction_type"])
        return self.space.clip(clean) if self.config["clip_sample"] else clean

    def loss(self, batch: Sample) -> Loss:
        """The training loss of a batch, as a mean over its samples.

        Args:
            batch: Of B training samples, see `batches.Sample` for its tensors; its random numbers decide the noise, the
                timesteps and whose labels and layouts are dropped.
        """
        config, space, noise = self.config, self.space, batch["noise"]
        clean = space.encode(batch["clean_images"], space.make_layout(batch["masks"]))
        timestep_uniforms, label_uniforms, layout_uniforms, *places = batch["uniforms"].unbind(dim=1)
        timesteps = draw_timesteps(
            timestep_uniforms,
            math.ceil(self._detailed_below) if config["detail_only"] else config["num_train_timesteps"],
            config["timestep_density"],
            config["logit_mean"],
            config["logit_std"],
        )
        class_labels = batch["class_labels"] * (label_uniforms >= config["condition_dropout"])[:, None]
        alpha_bar = self.alpha_bar(timesteps)[:, None, None, None]
        noisy = space.without_layout(add_noise(clean, noise, alpha_bar), layout_uniforms < config["layout_dropout"])
        prediction = self.predict_patches(noisy, timesteps, class_labels)
        target = training_target(clean, noise, alpha_bar, config["prediction_type"])
        self._loss_weights = self._loss_weights.to(clean.device)
        weights = self._loss_weights[timesteps]

        def weighted(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            errors = LOSSES[config["loss"]](prediction, target, reduction="none")
            return (weights * errors.mean(dim=(1, 2, 3))).sum() / len(clean)

        terms = {}
        if not config["detail_only"]:
            terms["image"] = weighted(space.parts(prediction)[0], space.parts(target)[0], weights)
            if space.has_layout:
                terms["layout"] = LAYOUT_WEIGHT * weighted(space.layout(prediction), space.layout(target), weights)
        if self.detailer is not None:
            is_detailed = self.is_detailed(timesteps)
            rows = is_detailed.clone()
            rows[0] = True  # even where it counts nothing: DistributedDataParallel wants a gradient of every batch
            windows = torch.stack(places, dim=1)[rows]
            predicted, seen, wanted = (
                self.detailer.windows(part[rows], windows) for part in (prediction.detach(), noisy, target)
            )
            detailed = self.detailer(predicted, seen, timesteps[rows], alpha_bar[rows])
            terms["detail"] = weighted(space.parts(detailed)[0], space.parts(wanted)[0], (weights * is_detailed)[rows])
        return Loss(terms)

    def forward(self, batch: Sample) -> Loss:
        """`loss`, through whatever wraps the model: DistributedDataParallel, autocast."""
        return self.loss(batch)

"""The sections of the settings of a training run, as frozen dataclasses; `config` puts them together.

A value out of range is refused with its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab_ddpm.data.images import height_width
from lab_ddpm.tools.errors import UserError, check_at_least, check_choice, check_finite, check_positive, check_share


@dataclass(frozen=True)
class DataConfig:
    """Where the images are.

    Attributes:
        dataset: "iclevr", a data set of torchvision, or "folder" for images of one's own; see `dataset`.
        root: Folder of its files. For i-CLEVR: images/, train.json and the condition lists.
        image_size: To train at, in pixels: [height, width], or one number for both.
        random_flip: Mirror half of the images, left and right.
        num_scenes: Scenes (of three images) that the replica renderer makes where i-CLEVR has no images yet.
        count_weights: How often an image of 1, 2, ... labels is drawn, compared with the others; empty for all alike.
        same_first_word_weight: Times this, for an image two of whose labels begin with the same word, as in i-CLEVR
            two objects of one colour.
        num_workers: Processes that prepare batches; 0 prepares them in the training process.
    """

    dataset: Literal["iclevr", "mnist", "fashion_mnist", "cifar10", "flowers102", "folder"] = "iclevr"
    root: str = "data/iclevr"
    image_size: int | tuple[int, int] = 64
    random_flip: bool = False
    num_scenes: int = 6003
    count_weights: tuple[float, ...] = ()
    same_first_word_weight: float = 1.0
    num_workers: int = 2

    def __post_init__(self) -> None:
        for length in height_width(self.image_size):
            check_at_least("data.image_size", length, 1)
        check_at_least("data.num_scenes", self.num_scenes, 1)
        check_at_least("data.num_workers", self.num_workers, 0)
        for weight in self.count_weights:
            check_positive("data.count_weights", weight)
        check_positive("data.same_first_word_weight", self.same_first_word_weight)


@dataclass(frozen=True)
class ModelConfig:
    """The network; see `network.make_unet`, and `denoiser.Denoiser` for `patch_size` and `detail_share`.

    Attributes:
        conditional: Whether the model learns the labels of the images.
        layout_scale: Other than 0, the model also denoises a map of what stands where, for which the images need
            masks, see `layout` and `labelled_images`; 2 is a good one.
        detail_channels: Of each level of a small network over single pixels that adds detail to a predicted clean
            image, see `detailer`; [32, 96] is a good one, none is the default.
    """

    conditional: bool = True
    patch_size: int = 1
    layout_scale: float = 0.0
    block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    layers_per_block: int = 2
    attention_levels: tuple[int, ...] = (4,)
    attention_head_dim: int = 8
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    norm_num_groups: int = 32
    detail_channels: tuple[int, ...] = ()
    detail_share: float = 0.6

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        check_at_least("model.patch_size", self.patch_size, 1)
        check_at_least("model.layout_scale", self.layout_scale, 0)
        if self.layout_scale and not self.conditional:
            raise UserError(f"`model.layout_scale` must be 0 for an unconditional model, got {self.layout_scale}")
        check_at_least("number of model.block_out_channels", levels, 1)
        check_at_least("model.layers_per_block", self.layers_per_block, 1)
        check_at_least("model.attention_head_dim", self.attention_head_dim, 1)
        check_at_least("model.norm_num_groups", self.norm_num_groups, 1)
        for channels in self.block_out_channels:
            if channels < 1 or channels % self.norm_num_groups:
                raise UserError(
                    f"`model.block_out_channels` must be multiples of `model.norm_num_groups`, "
                    f"got {channels} and {self.norm_num_groups}"
                )
        for channels in self.detail_channels:
            check_at_least("model.detail_channels", channels, 1)
        check_positive("model.detail_share", self.detail_share)
        check_share("model.detail_share", self.detail_share)
        for level in self.attention_levels:
            check_choice("model.attention_levels", level, range(levels))
        # behind the last level stands the middle block, which attends too
        narrowest = min(self.block_out_channels[level] for level in (*self.attention_levels, -1))
        if self.attention_head_dim > narrowest:
            raise UserError(
                "`model.attention_head_dim` must be at most the channels of the last level and of those that attend, "
                f"got {self.attention_head_dim} and {narrowest}"
            )


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise, and what the network predicts; see `denoiser.Denoiser`."""

    num_train_timesteps: int = 1000
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"] = "squaredcos_cap_v2"
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    clip_sample: bool = True

    def __post_init__(self) -> None:
        check_at_least("diffusion.num_train_timesteps", self.num_train_timesteps, 2)


@dataclass(frozen=True)
class ObjectiveConfig:
    """The loss; see `denoiser.Denoiser`.

    Attributes:
        logit_mean, logit_std: Of the "logit_normal" density; without a meaning for the "uniform" one.
        detail_only: Whether the detailer alone learns, behind a network that has learnt already (`init_from`), from
            images that are as little noisy as those that get detail.
    """

    loss: Literal["mse", "l1", "huber"] = "mse"
    loss_weight: Literal["none", "min_snr", "clamped_snr", "p2"] = "none"
    loss_weight_gamma: float | None = None
    timestep_density: Literal["uniform", "logit_normal"] = "uniform"
    logit_mean: float = 0.0
    logit_std: float = 1.0
    layout_dropout: float = 0.0
    condition_dropout: float = 0.0
    detail_only: bool = False

    def __post_init__(self) -> None:
        if self.loss_weight_gamma is not None:
            check_positive("objective.loss_weight_gamma", self.loss_weight_gamma)
            if self.loss_weight == "none":
                raise UserError(
                    "`objective.loss_weight_gamma` must not be given for `objective.loss_weight` 'none', "
                    f"got {self.loss_weight_gamma}"
                )
        check_finite("objective.logit_mean", self.logit_mean)
        check_positive("objective.logit_std", self.logit_std)
        for name in ("condition_dropout", "layout_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"`objective.{name}` must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon with linear warm-up and cosine decay to zero, gradient clipping and an average of the weights.

    Attributes:
        name: See `optimizer`.
        learning_rate: Its highest value, after the warm-up.
        weight_decay: Decoupled, times the learning rate.
        warmup_steps: Over which the learning rate rises from zero; then it falls as a cosine, to zero at the last step.
        max_grad_norm: Gradients are scaled down to this norm, over all weights.
        ema_decay: Decay of the exponential moving average that is sampled from and saved; 0 for none.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 500
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive("optimizer.learning_rate", self.learning_rate)
        check_at_least("optimizer.weight_decay", self.weight_decay, 0)
        check_at_least("optimizer.warmup_steps", self.warmup_steps, 0)
        check_positive("optimizer.max_grad_norm", self.max_grad_norm)
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"`optimizer.ema_decay` must be in [0, 1), got {self.ema_decay}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How a run is judged while it trains, and which pipeline it keeps as best/.

    Attributes:
        every_epochs: Epochs between evaluations (the last step is always evaluated).
        metric: What best/ is chosen by. Of i-CLEVR "micro" (objects found / objects asked) or "exact_match", both by
            the classifier resnet18; of other images "labels_found" (labels found / labels asked: the class accuracy)
            or "frechet" (distance of the features, for which no labels are needed), both by `classifier`. "none" scores
            nothing, and the newest pipeline is best/. "auto" takes the first of these that the images, the model and
            the classifiers at hand allow when the run begins.
        classifier: File of the classifier of other images than i-CLEVR; None for evaluator/DATASET.safetensors.
        num_images: Samples, where there is no list of conditions.
        split: Of i-CLEVR, the condition list to sample: a split name or a JSON file. The default is not one of the
            lists that results are reported on.
        scheduler, steps, guidance_scale, guidance_stop: The sampler, which is saved with the pipeline as its own, see
            `LabelConditionalPipeline`.
        keep: How many of the best pipelines stay on disk.
    """

    every_epochs: int = 5
    metric: Literal["auto", "micro", "exact_match", "labels_found", "frechet", "none"] = "auto"
    classifier: str | None = None
    num_images: int = 64
    split: str = "val"
    scheduler: Literal["ddpm", "ddim", "dpmpp", "dpmpp_sde", "dpmpp_sde_early", "unipc", "euler", "heun"] = "ddim"
    steps: int = 50
    guidance_scale: float = 1.0
    guidance_stop: float = 1.0
    keep: int = 1

    def __post_init__(self) -> None:
        check_at_least("evaluation.every_epochs", self.every_epochs, 1)
        check_at_least("evaluation.num_images", self.num_images, 1)
        check_at_least("evaluation.steps", self.steps, 1)
        check_positive("evaluation.guidance_scale", self.guidance_scale)
        check_share("evaluation.guidance_stop", self.guidance_stop)
        check_at_least("evaluation.keep", self.keep, 1)

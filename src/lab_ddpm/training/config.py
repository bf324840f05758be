"""The settings of a training run, as frozen dataclasses; `config_parser` makes them of presets and arguments.

The defaults are the i-CLEVR experiment of the report. A value out of range is refused with its name.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lab_ddpm.data.images import height_width
from lab_ddpm.tools.errors import UserError, check_at_least, check_seed
from lab_ddpm.training.config_sections import (
    DataConfig,
    DiffusionConfig,
    EvaluationConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
)


@dataclass(frozen=True)
class TrainConfig:
    """One training run, written to `runs_dir/name/`.

    Attributes:
        name: Name of the run.
        runs_dir: Folder of all runs.
        seed: Seed of the initial weights and of the stream of samples.
        epochs: Passes over the images; an epoch has ceil(images / batch_size) steps.
        batch_size: Images per optimizer step, over all processes and accumulation steps; at most all that there are.
        gradient_accumulation_steps: Parts that a batch is computed in, to save memory.
        mixed_precision: "auto" is bf16 where the hardware computes in it (a GPU; a CPU with AMX or AVX512-BF16), fp16
            on another GPU, none on another CPU.
        device: "auto" takes a GPU where there is one.
        init_from: Folder of a pipeline whose weights the run begins with, see `initial_weights`; None for random ones.
        trackers: "tensorboard" or "wandb", where the run is watched beside its own files, see `trackers`.
        save_every_steps: Steps between two states to resume from; the newest two are kept.
        log_every_steps: Steps between two lines of metrics.jsonl.
    """

    name: str = "iclevr"
    runs_dir: str = "runs"
    seed: int = 0
    epochs: int = 150
    batch_size: int = 32
    gradient_accumulation_steps: int = 1
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    init_from: str | None = None
    trackers: Literal["none", "tensorboard", "wandb"] = "none"
    save_every_steps: int = 500
    log_every_steps: int = 10
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for key in (
            "epochs",
            "batch_size",
            "gradient_accumulation_steps",
            "save_every_steps",
            "log_every_steps",
        ):
            check_at_least(key, getattr(self, key), 1)
        check_seed(self.seed)
        if self.batch_size % self.gradient_accumulation_steps:
            raise UserError(
                "`batch_size` must be a multiple of `gradient_accumulation_steps`, "
                f"got {self.batch_size} and {self.gradient_accumulation_steps}"
            )
        if self.evaluation.steps > self.diffusion.num_train_timesteps:
            raise UserError(
                f"`evaluation.steps` must be at most {self.diffusion.num_train_timesteps} "
                f"(`diffusion.num_train_timesteps`), got {self.evaluation.steps}"
            )
        if any(length % self.downsampling() for length in height_width(self.data.image_size)):
            raise UserError(
                f"`data.image_size` must be a multiple of {self.downsampling()} for this model "
                f"(patch_size x 2 per level), got {self.data.image_size}"
            )
        allowed = ["auto", "none"]
        if self.data.dataset != "iclevr":
            allowed += ["frechet"] + ["labels_found"] * self.model.conditional
        elif self.model.conditional:
            allowed += ["micro", "exact_match"]
        if self.evaluation.metric not in allowed:
            kind = "a conditional" if self.model.conditional else "an unconditional"
            raise UserError(
                f"`evaluation.metric` must be one of {allowed} for {kind} model of {self.data.dataset!r}, "
                f"got {self.evaluation.metric!r}"
            )
        takes_classifier = self.data.dataset != "iclevr" and self.evaluation.metric != "none"
        if self.evaluation.classifier is not None and not takes_classifier:
            raise UserError(
                "`evaluation.classifier` must not be given for i-CLEVR, which has its own, nor for "
                f"`evaluation.metric` 'none', got {self.evaluation.classifier!r}"
            )
        if self.model.layout_scale and self.diffusion.prediction_type != "sample":
            raise UserError(
                "`model.layout_scale` must be 0 unless `diffusion.prediction_type` is 'sample', "
                f"got {self.model.layout_scale} and {self.diffusion.prediction_type!r}"
            )
        if self.model.detail_channels and self.diffusion.prediction_type != "sample":
            raise UserError(
                "`model.detail_channels` must be empty unless `diffusion.prediction_type` is 'sample', "
                f"got {list(self.model.detail_channels)} and {self.diffusion.prediction_type!r}"
            )
        if self.objective.detail_only and not (self.model.detail_channels and self.init_from):
            raise UserError(
                "`objective.detail_only` needs `model.detail_channels` and `init_from`, "
                f"got {list(self.model.detail_channels)} and {self.init_from!r}"
            )
        if self.objective.layout_dropout and not self.model.layout_scale:
            raise UserError(
                "`objective.layout_dropout` must be 0 for a model without `model.layout_scale`, "
                f"got {self.objective.layout_dropout}"
            )
        if self.data.count_weights and not self.model.conditional:
            raise UserError(
                f"`data.count_weights` must be empty for an unconditional model, got {list(self.data.count_weights)}"
            )
        if self.data.same_first_word_weight != 1 and not self.model.conditional:
            raise UserError(
                "`data.same_first_word_weight` must be 1 for an unconditional model, "
                f"got {self.data.same_first_word_weight}"
            )
        if self.objective.condition_dropout and not self.model.conditional:
            raise UserError(
                "`objective.condition_dropout` must be 0 for an unconditional model, "
                f"got {self.objective.condition_dropout}"
            )
        if self.evaluation.guidance_scale != 1 and not self.objective.condition_dropout:
            raise UserError(
                "`evaluation.guidance_scale` must be 1 without `objective.condition_dropout`, "
                f"got {self.evaluation.guidance_scale}"
            )
        if not self.name.isprintable() or not self.name or "/" in self.name or self.name.startswith("."):
            raise UserError(f"`name` must be a plain folder name, got {self.name!r}")

    def downsampling(self) -> int:
        """What the sides of images must be multiples of, for all levels of the networks."""
        finest = self.model.patch_size * 2 ** (len(self.model.block_out_channels) - 1)
        return math.lcm(finest, 2 ** max(len(self.model.detail_channels) - 1, 0))

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, lists in place of tuples, as it stands in a YAML preset."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value

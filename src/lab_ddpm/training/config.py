"""The settings of one training run, as frozen dataclasses.

The defaults are the i-CLEVR experiment of a course report, on which this project is modelled. A value out of range is
refused with its name. The sections `model`, `loss` and `sampling` are arguments of the classes that use them, which
check them: see `config_parser` and `model.check_settings`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab_ddpm.data.iclevr import NUM_SCENES
from lab_ddpm.tools.errors import UserError, check_at_least, check_positive, check_seed, renaming

HUB_OPTIONS = ("image_column", "label_column", "split", "revision")  # of `data`, for the data set "hub" only
_LARGEST = 4096  # pixels on a side; larger ones are typing errors


@dataclass(frozen=True)
class DataConfig:
    """The images to train on.

    Attributes:
        dataset: "iclevr", a data set of torchvision, "folder" for your own images, or "hub" for a data set of the
            Hugging Face Hub or in its formats; see `data.open_dataset`.
        root: Folder of its files. For i-CLEVR: images/, train.json and the condition lists. For "hub" also USER/NAME.
        image_column: For "hub": the column of the images; None for the only one.
        label_column: For "hub": the column of the labels; None for the only one of classes or lists of texts.
        split: For "hub": the split to train on; None for "train".
        revision: For "hub": a branch, tag or commit; None for the newest.
        conditional: Whether the model learns the labels of the images.
        image_size: Size in pixels to train at: [height, width], or one number for both.
        random_flip: Whether half of the images are mirrored, left to right.
        num_scenes: Scenes (of three images) to render if the i-CLEVR folder has no images.
        num_workers: Processes that load images, unless a GPU holds them all; 0 loads them in the training process.
    """

    dataset: Literal["iclevr", "mnist", "fashion_mnist", "cifar10", "flowers102", "folder", "hub"] = "iclevr"
    root: str = "data/iclevr"
    image_column: str | None = None
    label_column: str | None = None
    split: str | None = None
    revision: str | None = None
    conditional: bool = True
    image_size: int | tuple[int, int] = 64
    random_flip: bool = False
    num_scenes: int = NUM_SCENES
    num_workers: int = 2

    def __post_init__(self) -> None:
        for length in [self.image_size] if isinstance(self.image_size, int) else self.image_size:
            if not 1 <= length <= _LARGEST:
                raise UserError(f"`data.image_size` must be between 1 and {_LARGEST} pixels, got {length}")
        check_at_least("data.num_scenes", self.num_scenes, 1)
        check_at_least("data.num_workers", self.num_workers, 0)
        if self.dataset != "hub" and self.hub_options:
            key, value = next(iter(self.hub_options.items()))
            raise UserError(f"`data.{key}` is only for the data set 'hub', got {value!r} for {self.dataset!r}")

    @property
    def hub_name(self) -> str | None:
        """USER/NAME of the images on the Hub; None if they are in a folder."""
        return self.root if self.dataset == "hub" and not Path(self.root).is_dir() else None

    @property
    def hub_options(self) -> dict[str, Any]:
        """The settings for "hub" that are not None, by name."""
        return {key: value for key in HUB_OPTIONS if (value := getattr(self, key)) is not None}


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon, gradient clipping, and an average of the weights.

    Attributes:
        name: "adamw", or "muon" for the matrices inside the networks; see `optimizer`.
        learning_rate: The peak. The rate rises linearly from 0, then falls along a cosine to 0 at the last step.
        weight_decay: Multiplied by the learning rate, not part of the gradient.
        warmup_steps: Steps until the learning rate reaches its peak.
        max_grad_norm: Gradients whose norm over all weights is larger are scaled down to this norm.
        ema_decay: Decay of the exponential moving average that is evaluated and saved; 0 for none.
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
    """When a run is evaluated, and how best/ is chosen.

    Attributes:
        every_epochs: Epochs between evaluations; None for 20 evaluations in a run, and at least 5 epochs between them.
            The last step is always evaluated.
        metric: The score that chooses best/, see `selection`: "micro" or "exact_match" for i-CLEVR; "labels_found" or
            "frechet" for other images; "none" for the newest pipeline; "auto" for the first of these that is possible
            when the run starts.
        classifier: File of the classifier, for images other than i-CLEVR; None for evaluator/DATASET.safetensors.
        num_images: Images to sample, for images other than i-CLEVR; at most 64 for the metric "none".
        split: For i-CLEVR, the condition list to sample: the name of a split, or a JSON file. No results are reported
            on the default list.
        keep: How many of the best pipelines stay on disk.
    """

    every_epochs: int | None = None
    metric: Literal["auto", "micro", "exact_match", "labels_found", "frechet", "none"] = "auto"
    classifier: str | None = None
    num_images: int = 64
    split: str = "val"
    keep: int = 1

    def __post_init__(self) -> None:
        for key in ("every_epochs", "num_images", "keep"):
            if getattr(self, key) is not None:
                check_at_least(f"evaluation.{key}", getattr(self, key), 1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run, which is written to `runs_dir/name/`.

    Attributes:
        name: Name of the run.
        runs_dir: Folder of all runs.
        dry_run: Whether to check the settings and the images, and train nothing.
        seed: Seed of the initial weights and of the stream of samples.
        epochs: Passes over the images. An epoch has ceil(images / batch_size) steps.
        batch_size: Images in an optimizer step, over all processes and micro-batches.
        gradient_accumulation_steps: The number of micro-batches in which a batch is computed, to save memory. "auto"
            is the smallest number with which a step fits, found when the run starts. The result is the same, up to
            rounding. A micro-batch may not exceed the data set.
        mixed_precision: "auto" means the fp16 or bf16 of `accelerate launch`, or else bf16 on hardware that computes in
            it (a GPU; a CPU with AMX or AVX512-BF16), fp16 on other GPUs, and none on other CPUs.
        device: "auto" takes a GPU if there is one.
        channels_last: Whether the channels of a pixel lie next to each other in memory.
        compile: Whether `torch.compile` makes kernels for the networks. The first step then takes minutes.
        init_from: Folder of a pipeline whose weights the run starts from, see `initial_weights`; None for random ones.
        trackers: "tensorboard", "wandb" or "trackio" to watch the run there too, see `trackers`; "none" for none.
        push_to_hub: USER/NAME on the Hugging Face Hub, to upload best/ to at the end of the run; None for nowhere.
        save_every_steps: Steps between two states to resume from. The newest two are kept.
        log_every_steps: Steps between two lines of metrics.jsonl.
        model: Arguments of `diffusion.denoiser.Denoiser`, except those that follow from the images.
        loss: Arguments of `diffusion.loss.DenoisingLoss`.
        sampling: Arguments of `diffusion.sampling.Sampling`. Evaluations use them, and pipelines are saved with them.
    """

    name: str = "iclevr"
    runs_dir: str = "runs"
    dry_run: bool = False
    seed: int = 0
    epochs: int = 150
    batch_size: int = 32
    gradient_accumulation_steps: int | Literal["auto"] = 1
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    channels_last: bool = False
    compile: bool = False
    init_from: str | None = None
    trackers: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    push_to_hub: str | None = None
    save_every_steps: int = 500
    log_every_steps: int = 10
    data: DataConfig = field(default_factory=DataConfig)
    model: Mapping[str, Any]
    loss: Mapping[str, Any]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sampling: Mapping[str, Any]
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "save_every_steps", "log_every_steps"):
            check_at_least(key, getattr(self, key), 1)
        check_at_least("gradient_accumulation_steps", self.num_micro_batches, 1)
        check_seed(self.seed)
        if not self.name.isprintable() or not self.name or "/" in self.name or self.name.startswith("."):
            raise UserError(f"`name` must be a plain folder name, got {self.name!r}")
        if self.batch_size % self.num_micro_batches:
            raise UserError(
                "`batch_size` must be a multiple of `gradient_accumulation_steps`, "
                f"got {self.batch_size} and {self.gradient_accumulation_steps}"
            )
        if self.push_to_hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.push_to_hub):
            raise UserError(f"`push_to_hub` must be USER/NAME, got {self.push_to_hub!r}")
        self._check_metric()

    def _check_metric(self) -> None:
        data, evaluation = self.data, self.evaluation
        choices = ["auto", "none"]
        if data.dataset != "iclevr":
            choices += ["frechet"] + ["labels_found"] * data.conditional
        elif data.conditional:
            choices += ["micro", "exact_match"]
        if evaluation.metric not in choices:
            raise UserError(
                f"`evaluation.metric` must be one of {choices} for {data.dataset!r} "
                f"{'with' if data.conditional else 'without'} `data.conditional`, got {evaluation.metric!r}"
            )
        if evaluation.classifier is not None and (data.dataset == "iclevr" or evaluation.metric == "none"):
            raise UserError(
                "`evaluation.classifier` is only for images other than i-CLEVR, and a metric other than 'none', "
                f"got {evaluation.classifier!r}"
            )

    @property
    def num_micro_batches(self) -> int:
        """`gradient_accumulation_steps`; 1 as long as it is "auto"."""
        return 1 if self.gradient_accumulation_steps == "auto" else self.gradient_accumulation_steps

    @property
    def epochs_between_evaluations(self) -> int:
        """`evaluation.every_epochs`, or what stands for its None."""
        return self.evaluation.every_epochs or max(5, math.ceil(self.epochs / 20))

    def as_dict(self) -> dict[str, Any]:
        """Nested dictionary of plain values, with lists instead of tuples, as in a YAML preset."""
        return plain(asdict(self))

    def naming_settings(self) -> AbstractContextManager[None]:
        """Let errors of a block name the settings instead of arguments: "`steps`" becomes "`sampling.steps`"."""
        sections = {"data": vars(self.data), "model": self.model, "loss": self.loss, "sampling": self.sampling}
        names = {key: f"{section}.{key}" for section, settings in sections.items() for key in settings}
        return renaming({**names, "sample_size": "data.image_size", "with_masks": "model.layout_scale"})


def plain(value: Any) -> Any:
    """Lists instead of tuples, at any depth."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return value

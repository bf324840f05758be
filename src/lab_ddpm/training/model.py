"""The untrained denoiser of a config, and the teacher with whose features of the clean pictures its own are aligned."""

from __future__ import annotations

from dataclasses import asdict

import torch
from accelerate.utils import set_seed

from lab_ddpm.data.dataset import short_name
from lab_ddpm.data.picture_cache import PictureDataset
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.judging.classifiers import CLASSIFIERS, EVALUATOR_DIR, FeatureMaps, check_channels, load_classifier
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.files import file_hash
from lab_ddpm.tools.shipped import find
from lab_ddpm.training.config import TrainConfig


def make_denoiser(config: TrainConfig, dataset: PictureDataset) -> Denoiser:
    """The untrained model of a config, for the pictures and labels of a data set; one seed always gives one model."""
    network = asdict(config.model)
    del network["conditional"]  # the data set has been opened with labels or without
    objective = asdict(config.objective)
    objective["teacher_channels"] = FeatureMaps.channels if objective.pop("teacher") else ()
    set_seed(config.seed)
    return Denoiser(
        labels=dataset.labels,
        sample_size=config.data.image_size,
        in_channels=dataset.pictures.shape[-1],
        **network,
        **asdict(config.diffusion),
        **objective,
    )


def load_teacher(config: TrainConfig, dataset: PictureDataset, device: torch.device) -> FeatureMaps | None:
    """The teacher that `config.objective.teacher` names, frozen; None where it names none.

    Raises:
        UserError, DataError: No such classifier, one of another architecture, one for pictures of another kind, or one
            that judges.
    """
    if config.objective.teacher is None:
        return None
    teacher = find(config.objective.teacher)
    classifier = load_classifier(teacher, None).requires_grad_(False).to(device)
    check_channels(teacher, classifier, dataset.pictures.shape[-1])
    names = (*CLASSIFIERS, short_name(config.data.dataset, config.data.root))
    judges = [find(EVALUATOR_DIR / f"{name}.safetensors") for name in names]
    judges += [find(config.evaluation.classifier)] if config.evaluation.classifier else []
    own = file_hash(teacher)
    for judge in judges:
        if judge.is_file() and file_hash(judge) == own:
            raise UserError(
                f"`objective.teacher` must not be a classifier that judges, got {teacher}, which is {judge}"
            )
    return FeatureMaps(classifier)

"""Convert a plain diffusers UNet with a label layer into a pipeline.

    net = UNet2DModel(...);  net.class_embedding = nn.Linear(24, 512);  torch.save(net.state_dict(), path)

Such a model computes the same as `Denoiser`, but its weights have other names: `label_embedding.*` in `Denoiser` is
`class_embedding.*` here, and everything else begins with `unet.` there. The architecture follows from the shapes,
except for the arguments in `NOT_IN_WEIGHTS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.diffusion.denoiser_settings import BetaSchedule, PredictionType
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.unet import UNET_DEFAULTS
from lab_ddpm.tools.errors import DataError, check_choice, first_line, some
from lab_ddpm.tools.files import atomic_path
from lab_ddpm.tools.weights import load_state, read_weights

_WRAPPERS = ("state_dict", "model_state_dict", "model", "unet", "ema")
_FIRST_KEY = "conv_in.weight"
_OF_DENOISER = ("sample_size", "attention_head_dim", "norm_num_groups")
_OF_UNET = ("act_fn", "downsample_padding", "freq_shift", "flip_sin_to_cos", "norm_eps", "mid_block_scale_factor")
_IN_WEIGHTS = (  # the weights show these, or the result does not depend on them
    *("in_channels", "out_channels", "down_block_types", "mid_block_type", "up_block_types", "block_out_channels"),
    *("layers_per_block", "resnet_time_scale_shift", "class_embed_type", "num_class_embeds", "num_train_timesteps"),
    *("dropout",),
)
# The arguments of a UNet2DModel that its weights do not tell, with diffusers' defaults.
NOT_IN_WEIGHTS = {**{name: UNET_DEFAULTS[name] for name in (*_OF_DENOISER, *_OF_UNET)}, "sample_size": 64}

State = Mapping[str, torch.Tensor]


def import_checkpoint(
    source: Path,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    beta_schedule: BetaSchedule = "squaredcos_cap_v2",
    prediction_type: PredictionType = "epsilon",
) -> Path:
    """Write the pipeline folder `out`, for `checkpoint.load_pipeline`.

    Args:
        source: State dict of a `UNet2DModel` with `class_embedding = nn.Linear(24, 4 * channels[0])`. It may be an
            entry of a dictionary, and its keys may have a common prefix such as `module.`.
        out: A folder that does not exist yet.
        settings: Arguments of the `UNet2DModel`, such as its config.json. `NOT_IN_WEIGHTS` has what is assumed of those
            that the weights do not tell; the others are checked against the weights.
        beta_schedule: The noise schedule that the model was trained with, of 1000 timesteps.
        prediction_type: What it was trained to predict.

    Returns:
        `out`.

    Raises:
        UserError: An unknown setting.
        DataError: `source` is missing, broken or contains another network; `out` exists; a setting does not fit
            the weights.
    """
    if out.exists():
        raise DataError(f"{out}: exists already; choose another `--out`")
    state = _strip_prefix(source, _unwrap(source, read_weights(source)))
    architecture = _architecture(source, state)
    untold = _untold(source, architecture, settings or {})
    try:
        denoiser = Denoiser(
            labels=OBJECTS,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
            **architecture,
            **untold,
        )
    except (TypeError, ValueError, RuntimeError) as error:  # also UserError
        raise DataError(f"{source}: no UNet2DModel of these settings has such weights ({first_line(error)})") from None
    renamed = {_our_key(key): value for key, value in state.items()}
    load_state(source, denoiser, renamed)
    with atomic_path(out) as temporary:
        LabelConditionalPipeline(denoiser, "ddim").save_pretrained(temporary)
    return out


def _unwrap(source: Path, content: Any) -> State:
    """The state dict: `content`, or an entry of it."""
    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[key] for key in _WRAPPERS if key in content]
    for state in candidates:
        if isinstance(state, dict) and any(str(key).endswith(_FIRST_KEY) for key in state):
            return state
    rule = f"must be the state dict of a UNet2DModel (with {_FIRST_KEY}), or have it under one of the keys"
    raise DataError(f"{source}: {rule} {list(_WRAPPERS)}")


def _strip_prefix(source: Path, state: State) -> State:
    """Without the prefix that DataParallel, torch.compile or an outer module adds to every key."""
    prefix = next(key for key in map(str, state) if key.endswith(_FIRST_KEY)).removesuffix(_FIRST_KEY)
    others = [str(key) for key, value in state.items() if not (str(key).startswith(prefix) and torch.is_tensor(value))]
    if others:
        raise DataError(f"{source}: must contain the weights of one UNet2DModel only, got also {some(others)}")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _architecture(source: Path, state: State) -> dict[str, Any]:
    """The arguments of `Denoiser` that follow from the shapes."""

    def count(pattern: str) -> int:
        return len({match.group() for key in state if (match := re.match(pattern, key))})

    levels = range(count(r"down_blocks\.\d+\."))
    try:
        labels, in_channels = state["class_embedding.weight"].shape[1], state[_FIRST_KEY].shape[1]
        channels = [state[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in levels]
        projection = state["down_blocks.0.resnets.0.time_emb_proj.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise DataError(f"{source}: must be a UNet2DModel with a class_embedding ({first_line(error)})") from None
    if labels != len(OBJECTS):
        raise DataError(f"{source}: class_embedding must take {len(OBJECTS)} labels, got {labels}")
    return {
        "in_channels": in_channels,
        "block_out_channels": channels,
        "layers_per_block": count(r"down_blocks\.0\.resnets\.\d+\."),
        "attention_levels": [level for level in levels if count(rf"down_blocks\.{level}\.attentions\.")],
        "resnet_time_scale_shift": "scale_shift" if projection == 2 * channels[0] else "default",
    }


def _untold(source: Path, architecture: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Denoiser` that do not follow from the shapes."""
    given = {name: value for name, value in settings.items() if not name.startswith("_")}  # _class_name, ...
    for name in given:
        check_choice("settings", name, UNET_DEFAULTS)
    for name in architecture.keys() & given.keys():
        if np.ravel(given[name]).tolist() != np.ravel(architecture[name]).tolist():
            raise DataError(f"{source}: has {name} {architecture[name]!r}, and its config says {given[name]!r}")
    own = {name: given.get(name, NOT_IN_WEIGHTS[name]) for name in _OF_DENOISER}
    others = given.keys() - {*_OF_DENOISER, *_IN_WEIGHTS}
    return {**own, "unet_options": {name: given[name] for name in others if given[name] != UNET_DEFAULTS[name]} or None}


def _our_key(key: str) -> str:
    return key.replace("class_embedding.", "label_embedding.") if key.startswith("class_embedding.") else f"unet.{key}"

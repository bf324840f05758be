"""Which arguments of a `Denoiser` fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from lab_ddpm.tools.errors import UserError, check_at_least, check_choice, check_positive, check_share

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]

_NEEDS = {
    "layout_scale": "labels",
    "layout_dropout": "layout_scale",
    "places_dropout": "layout_scale",
}


def check_denoiser_settings(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for arguments of `Denoiser` that are out of range or do not fit each other.

    `make_unet` and `Detailer` check their own.
    """
    check_choice("beta_schedule", config["beta_schedule"], get_args(BetaSchedule))
    check_choice("prediction_type", config["prediction_type"], get_args(PredictionType))
    check_at_least("num_train_timesteps", config["num_train_timesteps"], 2)
    check_at_least("patch_size", config["patch_size"], 1)
    check_at_least("layout_scale", config["layout_scale"], 0)
    check_positive("detail_share", config["detail_share"])
    check_share("detail_share", config["detail_share"])
    for channels in config["detail_channels"]:
        check_at_least("detail_channels", channels, 1)
    check_share("augmentation", config["augmentation"])
    for name, needed in _NEEDS.items():
        if config[name] and not config[needed]:
            raise UserError(f"`{name}` must be 0 for a model without `{needed}`, got {config[name]}")
    check_at_least("num_clusters", config["num_clusters"], 0)
    if config["num_clusters"] and config["labels"]:
        raise UserError(f"`num_clusters` must be 0 for a model with labels, got {config['num_clusters']}")
    if config["condition_dropout"] and not (config["labels"] or config["num_clusters"]):
        raise UserError(
            f"`condition_dropout` must be 0 for a model without labels and clusters, got {config['condition_dropout']}"
        )
    if config["num_clusters"] and not config["condition_dropout"]:
        raise UserError(f"`condition_dropout` must be above 0 for `num_clusters` {config['num_clusters']}")
    for name in ("layout_dropout", "places_dropout", "condition_dropout"):
        if not 0 <= config[name] < 1:
            raise UserError(f"`{name}` must be in [0, 1), got {config[name]}")
    check_at_least("places_dropout", config["places_dropout"], config["layout_dropout"])
    if config["augmentation"] and config["layout_scale"]:
        raise UserError(f"`augmentation` must be 0 for a model with a layout, got {config['augmentation']}")
    for name in ("layout_scale", "detail_channels"):
        # where the layout is unknown, the noise on it cannot be predicted; a detailer needs the clean image
        if config[name] and config["prediction_type"] != "sample":
            raise UserError(
                f"`prediction_type` must be 'sample' for `{name}` {config[name]}, got {config['prediction_type']!r}"
            )

"""Charts as PNG files: how a training went, and which objects its images show.

They are small with large letters, so that they can be read on a phone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.ndimage import uniform_filter1d

from lab_ddpm.evaluation.scores import Scores

SplitScores = Mapping[str, Mapping[str, Scores]]  # list -> classifier -> scores: "splits" of metrics.json

_VALIDATION_SCORES = {
    "micro": "objects found",
    "exact_match": "images all right",
    "labels_found": "labels found",
    "frechet": "Frechet distance",
}
_SMOOTHED_OVER = 25  # the smoothed loss is the average of 1 / 25 of the curve
_COLOURS = ["#2a6fb0", "#c2611f", "#3b8556", "#8250a8"]


def training_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Charts of `metrics.jsonl`. Charts without records are left out.

    Returns:
        PNG bytes under "loss" (logarithmic; each logged step, and smoothed), "learning_rate" and "validation" (scores,
        with their 95 % intervals if they have any).
    """
    logged = [record for record in records if "loss" in record]
    validated = [record for record in records if "validation" in record]
    steps = [record["step"] for record in logged]

    def loss(axes: Axes) -> None:
        losses = np.array([record["loss"] for record in logged])
        axes.plot(steps, losses, color="C0", alpha=0.3, linewidth=1, label="each logged step")
        axes.plot(
            steps,
            uniform_filter1d(losses, max(1, len(losses) // _SMOOTHED_OVER), mode="nearest"),
            color="C1",
            linewidth=2,
            label="smoothed",
        )
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend()

    def learning_rate(axes: Axes) -> None:
        axes.plot(steps, [record["learning_rate"] for record in logged], linewidth=2)
        axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))

    def validation(axes: Axes) -> None:
        at = [record["step"] for record in validated]
        shown = {key: label for key, label in _VALIDATION_SCORES.items() if key in validated[0]["validation"]}
        for number, (key, label) in enumerate(shown.items()):
            scores = [record["validation"][key] for record in validated]
            axes.plot(at, [score["mean"] for score in scores], "o-", color=f"C{number}", markersize=5, label=label)
            if scores[0]["ci95"] is not None:
                low, high = np.array([score["ci95"] for score in scores]).T
                axes.fill_between(at, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
                axes.vlines(at, low, high, color=f"C{number}", alpha=0.5)
        axes.set(xlabel="step", ylabel="validation score", ylim=(0, None if "frechet" in shown else 1.02))
        axes.legend()

    charts = {}
    if logged:
        charts = {"loss": _draw(loss), "learning_rate": _draw(learning_rate)}
    if validated:
        charts["validation"] = _draw(validation)
    return charts


def object_chart(splits: SplitScores, classifier: str) -> bytes:
    """How often each object is found, for each list and with 95 % intervals, as the bytes of a PNG file.

    Args:
        splits: List -> classifier -> scores, as in `metrics.json`.
        classifier: A classifier that scored all lists.
    """
    by_split = {split: scored[classifier]["by_object"] for split, scored in splits.items()}
    found = {name for scores in by_split.values() for name in scores}
    names = sorted(found, key=lambda name: name.split()[::-1])  # objects of one shape together

    def by_object(axes: Axes) -> None:
        for number, (split, scores) in enumerate(by_split.items()):
            shown = [name for name in names if name in scores]
            height = [names.index(name) + 0.5 * ((number + 0.5) / len(by_split) - 0.5) for name in shown]
            means = np.array([scores[name]["mean"] for name in shown])
            low, high = np.array([scores[name]["ci95"] for name in shown]).T
            errors = np.clip([means - low, high - means], 0, None)
            axes.errorbar(means, height, xerr=errors, fmt="o", markersize=5, capsize=2, label=split)
        axes.set(xlabel="found / asked", xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)

    return _draw(by_object, height=1.2 + 0.27 * len(names))


def _draw(paint: Callable[[Axes], None], height: float = 3.3) -> bytes:
    style: Any = {
        "font.size": 11.5,
        "axes.prop_cycle": cycler(color=_COLOURS),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.alpha": 0.2,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        paint(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()

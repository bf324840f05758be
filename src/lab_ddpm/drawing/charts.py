"""Curves and bars as PNG files: how a training went, and how its images scored.

The charts exist in two themes, for pages that follow the reader's light or dark setting. They are small with large
letters, so that they can be read on a phone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy.ndimage import uniform_filter1d

from lab_ddpm.evaluation.intervals import Score
from lab_ddpm.evaluation.scores import Scores

Theme = Literal["light", "dark"]
SplitScores = Mapping[str, Mapping[str, Scores]]  # list -> classifier -> scores: "splits" of metrics.json

_VALIDATION_SCORES = {
    "micro": "objects found",
    "exact_match": "images all right",
    "labels_found": "labels found",
    "frechet": "Frechet distance",
}
_SMOOTHED_OVER = 25  # the smoothed loss is the average of 1 / 25 of the curve
_PALETTES: dict[Theme, tuple[str, str, list[str]]] = {  # background, ink, colours of the series
    "light": ("#ffffff", "#24292f", ["#2a6fb0", "#c2611f", "#3b8556", "#8250a8"]),
    "dark": ("#1c2128", "#d5dbe1", ["#6fb1ee", "#f0a060", "#76c893", "#c39be0"]),
}


def training_curves(records: Sequence[Mapping[str, Any]], theme: Theme = "light") -> dict[str, bytes]:
    """Charts of `metrics.jsonl`. Charts without records are left out.

    Args:
        records: From `metrics_log.read_records`.
        theme: "light" or "dark".

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
        charts = {"loss": _draw(theme, loss), "learning_rate": _draw(theme, learning_rate)}
    if validated:
        charts["validation"] = _draw(theme, validation)
    return charts


def score_bars(splits: SplitScores, classifier: str, theme: Theme = "light") -> dict[str, bytes]:
    """Charts of `metrics.json`, each score with its 95 % interval.

    Args:
        splits: List -> classifier -> scores.
        classifier: The classifier whose scores are in the charts by number of objects and by object.
        theme: "light" or "dark".

    Returns:
        PNG bytes under "overall" (objects found, each list by each classifier), "by_object_count" and "by_object".
    """
    chosen = {split: scored[classifier] for split, scored in splits.items() if classifier in scored}
    counts = sorted({count for scores in chosen.values() for count in scores["by_object_count"]}, key=int)

    def overall(axes: Axes) -> None:
        names = dict.fromkeys(name for scored in splits.values() for name in scored)
        micro = {name: [s[name]["micro"] if name in s else None for s in splits.values()] for name in names}
        _bars(axes, list(splits), micro)

    def by_object_count(axes: Axes) -> None:
        series = {split: [scores["by_object_count"].get(c) for c in counts] for split, scores in chosen.items()}
        _bars(axes, counts, series)
        axes.set_xlabel("objects asked for in an image")

    def by_object(axes: Axes) -> None:
        found = dict.fromkeys(name for scores in chosen.values() for name in scores["by_object"])
        names = sorted(found, key=lambda name: name.split()[::-1])  # objects of one shape together
        for number, (split, scores) in enumerate(chosen.items()):
            shown = [name for name in names if name in scores["by_object"]]
            height = [names.index(name) + _offset(number, len(chosen), 0.5) for name in shown]
            means, errors = _with_whiskers([scores["by_object"][name] for name in shown])
            axes.errorbar(means, height, xerr=errors, fmt="o", markersize=5, capsize=2, label=split)
        axes.set(xlabel="found / asked", xlim=(-0.02, 1.02), ylim=(len(names) - 0.5, -0.5))
        axes.set_yticks(range(len(names)), names)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)

    rows = len({name for scores in chosen.values() for name in scores["by_object"]})
    return {
        "overall": _draw(theme, overall),
        "by_object_count": _draw(theme, by_object_count),
        "by_object": _draw(theme, by_object, height=1.2 + 0.27 * rows),
    }


def _bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[Score | None]]) -> None:
    """Bars with whiskers and values: one group per place on the x axis, with one bar per series."""
    width = 0.8 / len(series)
    for number, (name, scores) in enumerate(series.items()):
        known = [(place, score) for place, score in enumerate(scores) if score is not None]
        at = [place + _offset(number, len(series), 0.8) for place, _ in known]
        means, errors = _with_whiskers([score for _, score in known])
        axes.bar(at, means, width * 0.92, color=f"C{number}", alpha=0.75, label=name)
        axes.errorbar(at, means, yerr=errors, fmt="none", ecolor=axes.xaxis.label.get_color(), capsize=3)
        for x, mean, above in zip(at, means, errors[1], strict=True):
            axes.annotate(
                f"{mean:.2f}", (x, mean + above), (0, 3), textcoords="offset points", ha="center", fontsize=9.5
            )
    axes.set(ylabel="objects found / asked", ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)


def _offset(number: int, count: int, span: float) -> float:
    """The offset of the `number`-th of `count` marks that are spread evenly over `span`, around 0."""
    return span * ((number + 0.5) / count - 0.5)


def _with_whiskers(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) means and the (2, n) lengths of their whiskers."""
    means = np.array([score["mean"] for score in scores])
    low, high = np.array([score["ci95"] for score in scores]).reshape(-1, 2).T
    return means, np.clip([means - low, high - means], 0, None)


def _draw(theme: Theme, paint: Callable[[Axes], None], height: float = 3.3) -> bytes:
    background, ink, colours = _PALETTES[theme]
    style: Any = {
        "font.size": 11.5,
        "figure.facecolor": background,
        "axes.facecolor": background,
        "axes.prop_cycle": cycler(color=colours),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.alpha": 0.2,
        "grid.color": ink,
        "legend.frameon": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink),
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        paint(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()

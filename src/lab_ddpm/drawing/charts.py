"""Curves and bars as PNG files: how a training went, and what its images scored.

The charts of a run exist in two themes, for pages that follow the reader's light or dark setting; each is drawn small
and with large letters, so that it can still be read on a phone. Those of the studies are for documents, on white.
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

from lab_ddpm.evaluation.object_scores import Score, Scores
from lab_ddpm.tools.metrics_log import Record

Theme = Literal["light", "dark"]
SplitScores = Mapping[str, Mapping[str, Scores]]  # list -> classifier -> scores: "splits" of metrics.json

_VALIDATION_SCORES = {
    "micro": "objects found",
    "exact_match": "images all right",
    "labels_found": "labels found",
    "frechet": "Frechet distance",
}
_NUM_COLOURS = 4
_LINE_STYLES = ("-", "--", ":")  # for the curves after those that have a colour of their own
_SMOOTHED_OVER = 25  # the smoothed loss averages this fraction (1 / 25) of the curve
_PALETTES: dict[Theme, tuple[str, str, list[str]]] = {  # background, ink, colours of the series
    "light": ("#ffffff", "#24292f", ["#2a6fb0", "#c2611f", "#3b8556", "#8250a8"]),
    "dark": ("#1c2128", "#d5dbe1", ["#6fb1ee", "#f0a060", "#76c893", "#c39be0"]),
}


def training_curves(records: Sequence[Record], theme: Theme = "light") -> dict[str, bytes]:
    """Charts of `metrics.jsonl`, those that there are records for.

    Args:
        records: From `metrics_log.read_records`.
        theme: "light" or "dark".

    Returns:
        PNG bytes under "loss" (logarithmic, each logged step and smoothed), "learning_rate" and "validation" (its
        scores, with their 95 % intervals where they have any).
    """
    logged = [record for record in records if "loss" in record]
    validated = [record for record in records if "validation" in record]
    steps = [record["step"] for record in logged]

    def loss(axes: Axes) -> None:
        losses = np.array([record["loss"] for record in logged])
        axes.plot(steps, losses, color="C0", alpha=0.3, linewidth=1, label="each logged step")
        axes.plot(steps, _smoothed(losses), color="C1", linewidth=2, label="smoothed")
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
        classifier: Whose scores the charts by number of objects and by object show.
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


def setting_panels(values: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """One panel per measure: a dot for each seed of each setting, and a line at each setting's mean.

    Args:
        values: Measure -> setting -> a value per seed; the same settings under every measure.

    Returns:
        PNG bytes.
    """
    settings = list(next(iter(values.values())))

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
        for axes, (measure, by_setting) in zip(panels, values.items(), strict=True):
            for row, setting in enumerate(settings):
                seeds = by_setting[setting]
                axes.plot(seeds, [row] * len(seeds), "o", color="C0", alpha=0.7, markersize=5)
                axes.plot([np.mean(seeds)] * 2, [row - 0.3, row + 0.3], color="C1", linewidth=2)
            axes.set_title(measure, fontsize=11.5)
            axes.tick_params(axis="x", labelsize=9)
        panels[0].set_yticks(range(len(settings)), settings)
        panels[0].set_ylim(len(settings) - 0.5, -0.5)

    return _draw_figure("light", paint, (1.4 + 1.75 * len(values), 1.0 + 0.36 * len(settings)))


def distance_curves(panels: Mapping[str, Mapping[str, Sequence[float]]], xlabel: str, ylabel: str) -> bytes:
    """Panels side by side, each with its curves over lambda.

    Args:
        panels: Title -> name of the curve -> its values, evenly spread from lambda 0 to 1.
        xlabel: Under every panel.
        ylabel: Beside the first one.

    Returns:
        PNG bytes.
    """

    def paint(figure: Figure) -> None:
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
            for number, (name, curve) in enumerate(curves.items()):
                places = (np.arange(len(curve)) + 0.5) / len(curve)
                line = _LINE_STYLES[number // _NUM_COLOURS % len(_LINE_STYLES)]
                axes.plot(places, curve, marker="o", linestyle=line, markersize=4, label=name)
            axes.set(xlabel=xlabel, xlim=(0, 1), xticks=(0, 0.5, 1))
            axes.set_title(title, fontsize=11.5)
        all_axes[0].set_ylim(bottom=0)  # of all, and only now: it ends the common scaling
        all_axes[0].set_ylabel(ylabel)
        figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)

    return _draw_figure("light", paint, (3.4 + 2.6 * len(panels), 3.3))


def _bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[Score | None]]) -> None:
    """Bars with whiskers and their values, one group per place on the x axis, one bar of it per series."""
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
    """Where the `number`-th of `count` marks stands, with `span` shared evenly around 0."""
    return span * ((number + 0.5) / count - 0.5)


def _with_whiskers(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) means and the (2, n) lengths of their whiskers."""
    means = np.array([score["mean"] for score in scores])
    low, high = np.array([score["ci95"] for score in scores]).reshape(-1, 2).T
    return means, np.clip([means - low, high - means], 0, None)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A centred moving average, over fewer values towards the ends."""
    window = np.ones(max(1, 2 * (len(values) // (2 * _SMOOTHED_OVER)) + 1))
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def _draw(theme: Theme, paint: Callable[[Axes], None], height: float = 3.3) -> bytes:
    return _draw_figure(theme, lambda figure: paint(figure.add_subplot()), (5.2, height))


def _draw_figure(theme: Theme, paint: Callable[[Figure], None], size: tuple[float, float]) -> bytes:
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
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()

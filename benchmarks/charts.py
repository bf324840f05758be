"""Charts as PNG files, for documents on white."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lab_ddpm.data.images import Images

_LINE_STYLES = ("-", "--", ":")  # one for every four curves
_COLOURS = 4


def setting_panels(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """A panel per measure: a dot for each seed of each setting, and a line at each setting's mean.

    Args:
        measures: Measure -> setting -> a value per seed; the same settings under every measure.
    """
    settings = list(next(iter(measures.values())))
    figure = Figure(figsize=(1.4 + 1.75 * len(measures), 1.0 + 0.36 * len(settings)), layout="constrained")
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, (measure, by_setting) in zip(panels, measures.items(), strict=True):
        for row, setting in enumerate(settings):
            axes.plot(by_setting[setting], [row] * len(by_setting[setting]), "o", color="C0", alpha=0.7)
            axes.plot([np.mean(by_setting[setting])] * 2, [row - 0.3, row + 0.3], color="C1", linewidth=2)
        axes.set_title(measure)
        axes.grid(alpha=0.2)
    panels[0].set_yticks(range(len(settings)), settings)
    panels[0].set_ylim(len(settings) - 0.5, -0.5)
    return _png(figure)


def distance_curves(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> bytes:
    """Panels side by side, each with the distances of neighbours along lambda.

    Args:
        panels: Title -> name of the curve -> its values, evenly spread from lambda 0 to 1.
    """
    figure = Figure(figsize=(3.4 + 2.6 * len(panels), 3.3), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            style = {"color": f"C{number % _COLOURS}", "linestyle": _LINE_STYLES[number // _COLOURS]}
            axes.plot((np.arange(len(curve)) + 0.5) / len(curve), curve, marker="o", label=name, **style)
        axes.set(title=title, xlabel="lambda", xlim=(0, 1), xticks=(0, 0.5, 1))
        axes.grid(alpha=0.2)
    all_axes[0].set_ylim(bottom=0)
    all_axes[0].set_ylabel("distance of neighbours")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return _png(figure)


def distances_above_images(
    lambdas: Sequence[float], curves: Mapping[str, Sequence[float]], rows: Mapping[str, Images]
) -> bytes:
    """The distances of neighbours along lambda, and images, each below its lambda.

    Args:
        lambdas: (n,) from 0 to 1.
        curves: Name -> n - 1 distances.
        rows: Title -> (n, H, W, C) uint8.
    """
    count = len(lambdas)
    figure = Figure(figsize=(2.2 + 0.85 * count, 3.2 + 0.95 * len(rows)), layout="constrained")
    grid = figure.add_gridspec(1 + len(rows), count, height_ratios=[3.2, *[0.9] * len(rows)])
    axes = figure.add_subplot(grid[0, :])
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(np.arange(count - 1) + 0.5, curve, marker="o", label=name, linestyle=_LINE_STYLES[number % 3])
    axes.set(xlim=(-0.5, count - 0.5), xticks=range(count), xticklabels=[f"{value:.2f}" for value in lambdas])
    axes.set(xlabel="lambda", ylabel="distance to the next image")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.2)
    axes.legend()
    for row, (title, images) in enumerate(rows.items(), start=1):
        for column, image in enumerate(images):
            panel = figure.add_subplot(grid[row, column])
            panel.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
            panel.set(xticks=[], yticks=[])
            if not column:
                panel.set_ylabel(title, rotation=0, ha="right", va="center")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return buffer.getvalue()

"""Charts as PNG files, for documents on white."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lab_ddpm.data.images import Images


@dataclass(frozen=True)
class SettingFigure:
    """One data set in `setting_figure`: what two or more settings gave.

    Attributes:
        images: Setting -> the file of a grid of images.
        measures: Measure -> setting -> a value per seed.
        real: Measure -> its value of real images.
    """

    images: Mapping[str, Path]
    measures: Mapping[str, Mapping[str, Sequence[float]]]
    real: Mapping[str, float]


def setting_figure(parts: Mapping[str, SettingFigure]) -> bytes:
    """For each data set the images of each setting, side by side, and below them a panel per measure.

    A panel has a dot for each seed, a line at the mean of each setting, and a dashed line at the value of real images
    if that is near. A measure that is 0 everywhere, such as the saturation of grey images, has no panel.

    Args:
        parts: Title -> data set; all of the same settings.
    """
    figure = Figure(figsize=(9, 3.9 * len(parts)), layout=ConstrainedLayoutEngine(w_pad=0.1))  # inches
    blocks = figure.subfigures(2 * len(parts), 1, height_ratios=[2.7, 1.2] * len(parts), squeeze=False)[:, 0]
    for number, (title, part) in enumerate(parts.items()):
        for axes, (setting, grid) in zip(
            blocks[2 * number].subplots(1, len(part.images)), part.images.items(), strict=True
        ):
            axes.imshow(imread(grid), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"{title}, {setting}")
            axes.axis("off")
        measures = {measure: values for measure, values in part.measures.items() if np.any(list(values.values()))}
        panels = blocks[2 * number + 1].subplots(1, len(measures), squeeze=False)[0]
        for axes, (measure, by_setting) in zip(panels, measures.items(), strict=True):
            for row, values in enumerate(by_setting.values()):
                axes.plot(values, [row] * len(values), "o", color=f"C{row}", alpha=0.7)
                axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=f"C{row}", linewidth=2)
            axes.set_xlim(axes.get_xlim())
            axes.axvline(part.real[measure], color="black", linestyle="--", linewidth=1)
            axes.locator_params(axis="x", nbins=3)
            axes.set(title=measure, ylim=(len(by_setting) - 0.5, -0.5), yticks=range(len(by_setting)))
            axes.set_yticklabels(by_setting if axes is panels[0] else [""] * len(by_setting))
            axes.grid(alpha=0.2)
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
        axes.plot(np.arange(count - 1) + 0.5, curve, marker="o", label=name, linestyle=("-", "--", ":")[number % 3])
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

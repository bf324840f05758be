"""Images to train the counter on: one to six objects, often several of a kind.

An image depends only on (seed, number), so rendering can be stopped and resumed. `places.json` is written last. It says
where the middle of each object is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab_ddpm.data.images import write_png
from lab_ddpm.iclevr.replica.renderer import render_image
from lab_ddpm.iclevr.replica.replica import render_scenes
from lab_ddpm.iclevr.replica.scenes import Scene, center, sample_scene
from lab_ddpm.tools.extras import require_extra
from lab_ddpm.tools.files import write_json
from lab_ddpm.tools.parts import WHOLE, Part

MOST_COUNTED = 6  # objects in an image
_KINDS = (1, 2, 3, 6)  # from how many kinds the objects of an image are drawn

Centers = list[tuple[str, float, float]]  # name, and the middle in shares of the width and of the height


def render_for_counting(out: Path, num_images: int, seed: int = 0, workers: int = 1, part: Part = WHOLE) -> int:
    """Render `out/images/SEED_000000.png` and so on, each of another scene, and write `out/places.json`.

    The other arguments, the result and the errors are those of `replica.render_replica`.
    """
    require_extra("mitsuba")
    places: dict[str, Centers] = {}
    rendered = 0
    jobs = [(out, seed, number) for number in part.of(range(num_images))]
    for name, centers, is_new in render_scenes(_render, jobs, 1, workers, out / "images"):
        places[name], rendered = centers, rendered + is_new
    if part == WHOLE:
        write_json(out / "places.json", dict(sorted(places.items())))
    return rendered


def sample_counting_scene(seed: int, number: int) -> Scene:
    """Scene `number` of a set; the same arguments give the same scene."""
    rng = np.random.default_rng((seed, number, MOST_COUNTED))
    return sample_scene(seed, number, int(rng.integers(MOST_COUNTED)) + 1, num_kinds=int(rng.choice(_KINDS)))


def _render(out: Path, seed: int, number: int) -> tuple[str, Centers, bool]:
    scene = sample_counting_scene(seed, number)
    path = out / "images" / f"{seed}_{number:06d}.png"
    is_new = not path.exists()
    if is_new:
        write_png(path, render_image(scene, len(scene.objects) - 1))
    return path.name, [(item.name, *center(item)) for item in scene.objects], is_new

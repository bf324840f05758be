"""The scene of a replica image as plain numbers, before anything is rendered.

A scene consists of objects on the ground plane z = 0 (z up, CLEVR units) and one random shift per lamp. The first
object stands at the origin, so it is at the same pixels in every image. Each later object gets random places in
[-3, 3]^2 until it has a gap to the others and every object is visible. Step K of a scene shows its first K + 1 objects,
as in i-CLEVR (El-Nouby et al., "Tell, Draw, and Repeat", 2019, arXiv:1811.09845), which builds on CLEVR (Johnson et
al., 2017, arXiv:1612.06890).

Visibility is computed without a ray tracer. All shapes are convex, so the silhouette of an object is the convex hull of
its projected outline points. Painting the hulls on a coarse canvas gives the visible share of each silhouette; painting
them on a fine one gives the mask of the image.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from lab_ddpm.data.iclevr import MOST_OBJECTS, OBJECTS
from lab_ddpm.data.images import Images
from lab_ddpm.tools.errors import UserError

RADIUS = 0.61  # of spheres and cylinders; half the edge of cubes and half the height of cylinders
CAMERA_POSITION = (7.4811, -6.5076, 5.3437)  # looking exactly at the origin, z up
CAMERA_FOV = 49.13  # degrees, horizontal; the image is 4:3
LAMPS = ("key", "fill", "back")

PLACEMENT_RANGE = 3.0
MIN_GAP = 0.2  # between the circles around the footprints
MIN_VISIBLE = 0.5  # share of an object's silhouette that is neither hidden nor outside the frame
LAMP_JITTER = 1.0

_FRAME = (80, 60)  # canvas pixels of the visibility check, width and height
_MARGIN = 20  # canvas pixels around the frame, so that parts outside the frame are counted too
_SMOOTH = 48  # points of a circle in a mask
_MAX_TRIES = 1000


@dataclass(frozen=True)
class SceneObject:
    """One object that stands on the ground.

    Attributes:
        colour: One of `data.iclevr.COLOURS`.
        shape: One of `data.iclevr.SHAPES`.
        x, y: Center, in CLEVR units.
        rotation: Rotation about the z axis in radians, in [0, 2 pi); visible on cubes only.
    """

    colour: str
    shape: str
    x: float
    y: float
    rotation: float

    @property
    def name(self) -> str:
        """The name used in conditions, such as "red cube"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Everything that the images of a scene depend on.

    Attributes:
        objects: In the order in which the steps add them.
        lamp_shifts: One (x, y, z) shift for each of `LAMPS`, in CLEVR units.
        sampler_seed: Seed of the renderer's sample positions, in [0, 2^31).
    """

    objects: tuple[SceneObject, ...]
    lamp_shifts: tuple[tuple[float, float, float], ...]
    sampler_seed: int

    def names(self, step: int) -> list[str]:
        """The objects that the image of `step` shows, in the order in which they were added."""
        return [item.name for item in self.objects[: step + 1]]


def sample_scene(
    seed: int,
    scene: int,
    num_objects: int = MOST_OBJECTS,
    forbidden: Collection[frozenset[str]] = (),
    num_kinds: int | None = None,
) -> Scene:
    """Draw scene number `scene` of the data set `seed`; the same arguments give the same scene.

    Args:
        seed: Seed of the whole data set, at least 0.
        scene: Index of the scene, at least 0.
        num_objects: Objects of the last step. There is room for about six.
        forbidden: Combinations of object names; no scene contains all objects of one of them.
        num_kinds: Draw the objects from so many kinds, so that several may be equal; None lets no two be equal.

    Raises:
        UserError: `forbidden` leaves (almost) no combination to draw.
    """
    rng = np.random.default_rng((seed, scene))
    if num_kinds is None:
        names = _sample_names(rng, num_objects, forbidden)
    else:
        names = [OBJECTS[i] for i in rng.choice(rng.permutation(len(OBJECTS))[:num_kinds], num_objects)]
    objects = _place(rng, names)
    while objects is None:
        objects = _place(rng, names)
    shifts = rng.uniform(-LAMP_JITTER, LAMP_JITTER, (len(LAMPS), 3)).tolist()
    return Scene(objects, tuple((x, y, z) for x, y, z in shifts), int(rng.integers(2**31)))


def visible_shares(objects: Iterable[SceneObject]) -> list[float]:
    """The visible share of each object's silhouette, in [0, 1]."""
    objects = tuple(objects)
    xs, ys = (np.arange(-_MARGIN, size + _MARGIN) + 0.5 for size in _FRAME)
    grid_x, grid_y = np.meshgrid(xs, ys)
    inside_frame = (grid_x > 0) & (grid_x < _FRAME[0]) & (grid_y > 0) & (grid_y < _FRAME[1])
    masks = [_inside_hull(_silhouette(item), grid_x, grid_y) for item in objects]
    near_first = sorted(range(len(objects)), key=lambda i: _distance(objects[i]))
    free = inside_frame
    shares = [0.0] * len(objects)
    for i in near_first:
        shares[i] = float((masks[i] & free).sum() / max(masks[i].sum(), 1))
        free = free & ~masks[i]
    return shares


def object_map(objects: Iterable[SceneObject], width: int, height: int) -> Images:
    """The mask of an image: (height, width, 1) uint8, an object's index in `OBJECTS` + 1, and 0 for the ground.

    Outlines are exact to within a pixel of the mask. They ignore the bevels of cubes. Spheres are drawn as discs that
    face along the view's axis.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    scale = np.array([width / _FRAME[0], height / _FRAME[1]])
    for item in sorted(objects, key=_distance, reverse=True):
        outline = _silhouette(item, _SMOOTH) * scale  # Pillow rounds down: to the pixel that the point is in
        corners = [(float(x), float(y)) for x, y in outline[ConvexHull(outline).vertices]]
        draw.polygon(corners, fill=OBJECTS.index(item.name) + 1)
    return np.asarray(canvas)[..., None]


def center(item: SceneObject) -> tuple[float, float]:
    """Where the middle of an object is in the image, in shares of its width and of its height."""
    x, y = _project(np.array([[item.x, item.y, RADIUS]]))[0]
    return float(x) / _FRAME[0], float(y) / _FRAME[1]


def gap(first: SceneObject, second: SceneObject) -> float:
    """The distance between the circles around two footprints, in CLEVR units."""
    distance = float(np.hypot(first.x - second.x, first.y - second.y))
    return distance - _footprint_radius(first.shape) - _footprint_radius(second.shape)


def _footprint_radius(shape: str) -> float:
    return RADIUS * np.sqrt(2) if shape == "cube" else RADIUS


def _sample_names(rng: np.random.Generator, num_objects: int, forbidden: Collection[frozenset[str]]) -> list[str]:
    for _ in range(_MAX_TRIES):
        names = [OBJECTS[i] for i in rng.permutation(len(OBJECTS))[:num_objects]]
        if not any(combination.issubset(names) for combination in forbidden):
            return names
    raise UserError(
        f"`forbidden` must leave some combinations of {num_objects} objects, got {len(forbidden)} combinations that "
        f"excluded all of {_MAX_TRIES} random draws"
    )


def _place(rng: np.random.Generator, names: list[str]) -> tuple[SceneObject, ...] | None:
    """Place the objects one after the other; None if there is no room left for the next one."""
    objects: tuple[SceneObject, ...] = ()
    for name in names:
        colour, shape = name.split()
        for _ in range(50):
            x, y = rng.uniform(-PLACEMENT_RANGE, PLACEMENT_RANGE, 2).tolist() if objects else (0.0, 0.0)
            item = SceneObject(colour, shape, x, y, float(rng.uniform(0, 2 * np.pi)))
            if all(gap(item, other) >= MIN_GAP for other in objects) and (
                min(visible_shares((*objects, item))) >= MIN_VISIBLE
            ):
                objects = (*objects, item)
                break
        else:
            return None
    return objects


def _distance(item: SceneObject) -> float:
    camera_x, camera_y, _ = CAMERA_POSITION
    return float(np.hypot(item.x - camera_x, item.y - camera_y))


def _silhouette(item: SceneObject, roundness: int = 12) -> np.ndarray:
    """Projected points of an object's outline: (N, 2) canvas pixels. A circle has `roundness` points."""
    _, right, up = _camera_axes()
    if item.shape == "sphere":
        angles = np.linspace(0, 2 * np.pi, roundness, endpoint=False)
        points = RADIUS * (np.outer(np.cos(angles), right) + np.outer(np.sin(angles), up))
    else:
        corners = 4 if item.shape == "cube" else roundness
        angles = item.rotation + np.pi / 4 + np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = _footprint_radius(item.shape) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = np.concatenate([np.insert(ring, 2, z, axis=1) for z in (-RADIUS, RADIUS)])
    return _project(points + np.array([item.x, item.y, RADIUS]))


def _project(points: np.ndarray) -> np.ndarray:
    """(N, 3) points in CLEVR units -> (N, 2) canvas pixels; (0, 0) is the corner of the frame."""
    forward, right, up = _camera_axes()
    rays = points - np.array(CAMERA_POSITION)
    pixels_per_unit = _FRAME[0] / 2 / np.tan(np.radians(CAMERA_FOV / 2)) / (rays @ forward)
    return np.stack(
        [_FRAME[0] / 2 + rays @ right * pixels_per_unit, _FRAME[1] / 2 - rays @ up * pixels_per_unit], axis=1
    )


def _camera_axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    forward = -np.array(CAMERA_POSITION) / np.linalg.norm(CAMERA_POSITION)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    return forward, right, np.cross(right, forward)


def _inside_hull(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which of the places (x, y) are inside the convex hull of `points` (N, 2), to within a canvas pixel."""
    inside = np.ones_like(x, dtype=bool)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):  # a convex shape is where half-planes intersect
        normal = np.array([np.cos(angle), np.sin(angle)])
        inside &= x * normal[0] + y * normal[1] <= (points @ normal).max()
    return inside

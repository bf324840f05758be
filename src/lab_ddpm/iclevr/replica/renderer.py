"""One replica image: a CLEVR-like scene, rendered on the CPU with Mitsuba.

Light is additive, so an image is the sum of five renderings of the same scene, each with one light: the key, fill and
back lamps (square area lights with CLEVR's positions, sizes and powers, shifted a little in each scene), a weak sun,
and a constant sky that lights only the objects. With one light per rendering, no light is chosen at random, so a few
samples per pixel are enough to avoid grain. The sky replaces the light that the bright ground reflects onto the
objects. It does not light the ground, because the fitted strengths of the lamps already contain that light.

The sum is converted from linear RGB to sRGB. The strengths of the lamps were fitted to the background of public
i-CLEVR images, and the strength of the sky to the colours of their objects (non-negative least squares in linear RGB).
The ground is flat under the objects and curves up far behind them, so there is no horizon.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lab_ddpm.data.iclevr import COLOURS
from lab_ddpm.data.images import Images
from lab_ddpm.iclevr.replica.meshes import Mesh, curved_ground, rounded_cube
from lab_ddpm.iclevr.replica.scenes import CAMERA_FOV, CAMERA_POSITION, LAMPS, RADIUS, Scene, SceneObject

WIDTH, HEIGHT = 112, 84
RECIPE = 2  # increase it if a change here, in `scenes` or in `meshes` changes a pixel of an image or a mask
_SAMPLES = 4  # per pixel and light

_BASE_COLOURS = [
    (87, 87, 87),
    (173, 35, 35),
    (42, 75, 215),
    (29, 105, 20),
    (129, 74, 25),
    (129, 38, 192),
    (41, 208, 208),
    (255, 238, 51),
]
_REFLECTANCE = {  # linear RGB: the values are not decoded from sRGB
    colour: [value / 255 for value in base] for colour, base in zip(COLOURS, _BASE_COLOURS, strict=True)
}
_GROUND_REFLECTANCE = 0.72
# position; Euler angles x, y, z in degrees, from a lamp that shines straight down; edge; power; linear RGB
_LAMPS = {
    "key": ((6.4467, -2.9052, 4.2584), (58.94, 0, 65.74), 0.5, 78.5, (0.88, 0.82, 0.72)),
    "fill": ((-4.6711, -4.0136, 3.0112), (63.94, 0, -49.33), 0.5, 23.6, (0.76, 0.82, 1.01)),
    "back": ((-1.1685, 2.6460, 5.8157), (26.44, 0, -156.17), 1.0, 39.3, (0.87, 0.83, 0.85)),
}
_SUN_DIRECTION = (-11.66, 6.63, -25.82)
_SUN_IRRADIANCE = 0.63
_SKY_RADIANCE = 0.1
_CURVE_START, _CURVE_RADIUS = 14.0, 20.0  # of the ground, behind the origin as seen from the camera
_BEVEL = 0.07  # radius of the cubes' rounded edges


def render_image(scene: Scene, step: int) -> Images:
    """Render the image of one step; the same arguments give the same pixels.

    Args:
        scene: From `scenes.sample_scene`.
        step: In [0, number of objects); the image shows the first `step + 1` objects.

    Returns:
        (HEIGHT, WIDTH, 3) uint8, sRGB.
    """
    mi = _mitsuba()
    objects = scene.objects[: step + 1]
    solid = [_ground(), *(shape for item in objects for shape in _shapes(item, _rubber(item.colour)))]
    sun = {"type": "directional", "direction": _SUN_DIRECTION, "irradiance": _SUN_IRRADIANCE}
    lamps = [_lamp(name, shift) for name, shift in zip(LAMPS, scene.lamp_shifts, strict=True)]
    # lamps are sampled by their position; the sky is everywhere, so it is sampled by the directions that reflect most
    aim = {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0, "hide_emitters": True}
    spread = {"type": "direct", "emitter_samples": 0, "bsdf_samples": 4, "hide_emitters": True}
    worlds = [(aim, lamp, solid) for lamp in [*lamps, sun]]
    matte = [shape for item in objects for shape in _shapes(item, _matte(item.colour))]
    worlds.append((spread, {"type": "constant", "radiance": _SKY_RADIANCE}, matte))
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    for integrator, light, shapes in worlds:
        world = {"type": "scene", "integrator": integrator, "sensor": _camera(), "light": light}
        world |= {f"shape_{i}": shape for i, shape in enumerate(shapes)}
        image += np.array(mi.render(mi.load_dict(world), seed=scene.sampler_seed))
    return _to_srgb(image)


def _to_srgb(linear: np.ndarray) -> Images:
    """(H, W, 3) linear RGB in [0, 1] (brighter is clipped) -> uint8 sRGB (IEC 61966-2-1)."""
    linear = linear.clip(0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * curve).round().astype(np.uint8)


@functools.cache
def _mitsuba() -> Any:
    """Import Mitsuba at the first rendering, with one thread, because the workers are processes."""
    import drjit
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    drjit.set_thread_count(1)
    return mitsuba


def _camera() -> dict[str, Any]:
    mi = _mitsuba()
    return {
        "type": "perspective",
        "fov": CAMERA_FOV,
        "fov_axis": "x",
        "to_world": mi.ScalarTransform4f().look_at(origin=CAMERA_POSITION, target=(0, 0, 0), up=(0, 0, 1)),
        "film": {
            "type": "hdrfilm",
            "width": WIDTH,
            "height": HEIGHT,
            "pixel_format": "rgb",
            "component_format": "float32",
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "multijitter", "sample_count": _SAMPLES},
    }


def _lamp(name: str, shift: tuple[float, float, float]) -> dict[str, Any]:
    position, (angle_x, angle_y, angle_z), edge, power, colour = _LAMPS[name]
    transform = (
        _mitsuba()
        .ScalarTransform4f()
        .translate([p + s for p, s in zip(position, shift, strict=True)])
        .rotate([0, 0, 1], angle_z)
        .rotate([0, 1, 0], angle_y)
        .rotate([1, 0, 0], angle_x + 180)  # a rectangle faces up, a lamp down
        .scale(edge / 2)
    )
    radiance = [power / np.pi / edge**2 * channel for channel in colour]
    return {
        "type": "rectangle",
        "to_world": transform,
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": radiance}},
    }


@functools.cache
def _rubber(colour: str) -> Any:
    """The material of one colour. It is cached because Mitsuba computes its reflection tables whenever it is loaded."""
    reflectance = {"type": "rgb", "value": _REFLECTANCE[colour]}
    rubber = {"type": "roughplastic", "alpha": 0.25, "int_ior": 1.2, "diffuse_reflectance": reflectance}
    return _mitsuba().load_dict(rubber)


@functools.cache
def _matte(colour: str) -> Any:
    """The same material without gloss, which would only add grain under a constant sky."""
    reflectance = {"type": "rgb", "value": _REFLECTANCE[colour]}
    return _mitsuba().load_dict({"type": "diffuse", "reflectance": reflectance})


def _shapes(item: SceneObject, material: Any) -> list[Any]:
    mi = _mitsuba()
    if item.shape == "cube":
        return [_cube(item, material)]
    place = mi.ScalarTransform4f().translate([item.x, item.y, RADIUS]).scale(RADIUS)
    if item.shape == "sphere":
        return [mi.load_dict({"type": "sphere", "to_world": place, "bsdf": material})]
    side = {"type": "cylinder", "p0": (0, 0, -1), "p1": (0, 0, 1), "to_world": place, "bsdf": material}
    top = {"type": "disk", "to_world": place.translate([0, 0, 1]), "bsdf": material}
    return [mi.load_dict(side), mi.load_dict(top)]


def _cube(item: SceneObject, material: Any) -> Any:
    positions, normals, faces = rounded_cube(RADIUS, _BEVEL)
    cos, sin = np.cos(item.rotation), np.sin(item.rotation)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return _mesh((positions @ turn + (item.x, item.y, RADIUS), normals @ turn, faces), material)


@functools.cache
def _ground() -> Any:
    material = {"type": "diffuse", "reflectance": {"type": "rgb", "value": _GROUND_REFLECTANCE}}
    away_from_camera = (-CAMERA_POSITION[0], -CAMERA_POSITION[1])
    return _mesh(curved_ground(away_from_camera, _CURVE_START, _CURVE_RADIUS), _mitsuba().load_dict(material))


def _mesh(mesh: Mesh, material: Any) -> Any:
    positions, normals, faces = mesh
    mi = _mitsuba()
    properties = mi.Properties()
    properties["bsdf"] = material
    loaded = mi.Mesh("mesh", len(positions), len(faces), has_vertex_normals=True, props=properties)
    parameters = mi.traverse(loaded)
    parameters["vertex_positions"] = positions.astype(np.float32).ravel()
    parameters["vertex_normals"] = normals.astype(np.float32).ravel()
    parameters["faces"] = faces.astype(np.uint32).ravel()
    parameters.update()
    return loaded

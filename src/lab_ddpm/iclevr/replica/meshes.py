"""The two meshes of the replica: the cube with rounded edges, and the ground that curves into a wall.

A mesh consists of positions (N, 3) in CLEVR units, unit normals (N, 3) and triangles (M, 3) of indices. The normals are
those of the smooth surface, so that few triangles look smooth.
"""

import functools

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]


@functools.cache
def rounded_cube(half_edge: float, bevel: float) -> Mesh:
    """A cube around the origin whose edges are rounded with radius `bevel`.

    Every vertex is a point of the inner cube (smaller by the bevel) plus the bevel times its normal. Each face is a
    grid with lines at evenly spaced angles over the rounded edges; its middle is flat.
    """
    inner = half_edge - bevel
    rounding = bevel * np.tan(np.linspace(0, np.pi / 4, 4))
    lines = np.concatenate([-inner - rounding[::-1], inner + rounding])
    n = len(lines)
    u, v = (grid.ravel() for grid in np.meshgrid(lines, lines, indexing="ij"))
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    quads = np.stack([corner, corner + n, corner + n + 1, corner + 1], axis=1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    positions, normals, faces = [], [], []
    for axis in range(3):
        for sign in (-1, 1):
            # the factor on u keeps the triangles facing outwards
            points = np.roll(np.stack([np.full_like(u, sign * half_edge), sign * u, v], axis=1), axis, axis=1)
            centers = points.clip(-inner, inner)
            normal = (points - centers) / np.linalg.norm(points - centers, axis=1, keepdims=True)
            faces.append(triangles + len(positions) * n * n)
            positions.append(centers + bevel * normal)
            normals.append(normal)
    return np.concatenate(positions), np.concatenate(normals), np.concatenate(faces)


def curved_ground(direction: tuple[float, float], start: float, radius: float) -> Mesh:
    """A wide strip on z = 0 that curves up into a wall: a profile along `direction`, swept sideways.

    Args:
        direction: Horizontal direction (x, y) from the origin to the wall.
        start: Distance from the origin at which the ground begins to curve up.
        radius: Radius of the quarter circle between ground and wall.
    """
    along = np.array([*direction, 0.0]) / np.hypot(*direction)
    up = np.array([0.0, 0.0, 1.0])
    angles = np.linspace(0, np.pi / 2, 33)
    distance = np.concatenate([[-60], start + radius * np.sin(angles)])
    height = np.concatenate([[0], radius * (1 - np.cos(angles))])
    profile = distance[:, None] * along + height[:, None] * up
    normal = np.concatenate([[0], -np.sin(angles)])[:, None] * along
    normal += np.concatenate([[1], np.cos(angles)])[:, None] * up
    sideways = 150 * np.cross(along, up)
    near = np.arange(len(profile) - 1)
    far = near + len(profile)
    faces = [np.stack([near, far, near + 1], axis=1), np.stack([near + 1, far, far + 1], axis=1)]
    positions = np.concatenate([profile - sideways, profile + sideways])
    return positions, np.concatenate([normal, normal]), np.concatenate(faces)

"""Decode images into one `.npy` file. Several processes or machines that do it at the same time share the work.

    FOLDER/0000000           the first 4,096 images, as raw bytes
    FOLDER/0000000.json      their sizes and modes

Each process takes chunks at random among those that are missing. So two rarely take the same one, none waits for
another, and if one is killed, the finished chunks stay.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lab_ddpm.data.image_dataset import Kinds
from lab_ddpm.data.images import Images, Size, fit_image
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import atomic_path, read_json, write_json

_CHUNK = 4096


class Decoded(NamedTuple):
    """An image, (H, W, C) uint8, and the size and the mode that its file has, such as ("640 x 480", "RGB")."""

    image: Images
    size: str
    mode: str


def decoded(image: Image.Image, image_size: Size, fit: str, channels: int = 3) -> Decoded:
    """An opened image in the size of the cache, see `images.fit_image`."""
    size, mode = f"{image.width} x {image.height}", image.mode
    return Decoded(fit_image(image, image_size, fit, channels), size, mode)


@dataclass(frozen=True)
class Chunks:
    """The images of a file that is not complete.

    Attributes:
        folder: Holds the chunks.
        target: The file. When it exists, nothing is left to decode.
        shape: (N, H, W, C) of the images.
    """

    folder: Path
    target: Path
    shape: tuple[int, int, int, int]

    def decode(self, decode: Callable[[int], Decoded]) -> list[str]:
        """Decode the images that are missing; returns a line for each broken one.

        Args:
            decode: Image number -> the image; raises `DataError` for a broken one. It is called in several threads.
        """
        broken: dict[int, str] = {}
        order = random.Random()  # another one in each process, whatever the seed of the run
        with tqdm(total=self.shape[0], desc="decoding images", unit="image", leave=False, delay=2) as bar:
            while missing := [first for first in self._missing() if first not in broken]:
                bar.update(self.shape[0] - sum(len(self._positions(first)) for first in missing) - bar.n)
                first = order.choice(missing)
                try:
                    self._decode_chunk(first, decode, bar)
                except DataError as error:
                    broken[first] = str(error)
                except FileNotFoundError:  # another process did this chunk too, joined all, and removed the folder
                    if not self.target.exists():
                        raise
        return [line for first in sorted(broken) for line in broken[first].splitlines()]

    def join(self) -> Kinds:
        """Write the file, and remove the chunks; returns the sizes and modes of all images."""
        sizes, modes = Counter[str](), Counter[str]()
        with atomic_path(self.target) as temporary, open(temporary, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in self._all():
                kinds: Any = read_json(self._file(first, ".json"))
                sizes.update(kinds["sizes"])
                modes.update(kinds["modes"])
                with open(self._file(first), "rb") as chunk:
                    shutil.copyfileobj(chunk, file)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Kinds(sizes, modes)

    def _decode_chunk(self, first: int, decode: Callable[[int], Decoded], bar: tqdm[Any]) -> None:
        """Write a chunk, or raise `DataError` with a line for each broken image."""

        def attempt(position: int) -> Decoded | str:
            try:
                return decode(position)
            except DataError as error:
                return str(error)

        sizes, modes, broken = Counter[str](), Counter[str](), list[str]()
        with atomic_path(self._file(first)) as temporary:
            with open(temporary, "wb") as file, ThreadPoolExecutor() as pool:
                for result in pool.map(attempt, self._positions(first)):
                    bar.update()
                    if isinstance(result, str):
                        broken.append(result)
                    else:
                        file.write(result.image.tobytes())
                        sizes[result.size] += 1
                        modes[result.mode] += 1
            if broken:
                raise DataError("\n".join(broken))
            write_json(self._file(first, ".json"), {"sizes": sizes, "modes": modes})

    def _all(self) -> range:
        """The first image of each chunk."""
        return range(0, self.shape[0], _CHUNK)

    def _missing(self) -> list[int]:
        return [] if self.target.exists() else [first for first in self._all() if not self._file(first).exists()]

    def _positions(self, first: int) -> range:
        return range(first, min(first + _CHUNK, self.shape[0]))

    def _file(self, first: int, ending: str = "") -> Path:
        return self.folder / f"{first:07d}{ending}"

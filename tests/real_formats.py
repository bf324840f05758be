"""Small data sets in the exact on-disk formats of the real ones, with noise for images."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets


def write_mnist(root: Path, name: str = "MNIST", count: int = 12) -> None:
    """IDX files: a magic number, the dimensions (big-endian), the bytes."""
    random = np.random.default_rng(0)
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = np.array([0x00000803, count, 28, 28], dtype=">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            np.array([0x00000801, count], dtype=">i4").tobytes() + labels.tobytes()
        )


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, per_batch: int = 4) -> None:
    """Pickled batches; torchvision is told their hashes in place of those of the real ones."""
    random = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name: str, content: object) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data, usedforsecurity=False).hexdigest()]

    def write_batch(name: str) -> list[str]:
        images = random.integers(0, 256, (per_batch, 3072), dtype=np.uint8)
        return write(name, {"data": images, "labels": random.integers(0, 10, per_batch).tolist()})

    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = write("batches.meta", {"label_names": classes})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [write_batch(f"data_batch_{i}") for i in range(1, 6)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [write_batch("test_batch")])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})


def write_flowers102(root: Path, monkeypatch: pytest.MonkeyPatch, count: int = 12) -> None:
    """JPEG files and two MATLAB files; torchvision is told their hashes in place of those of the real ones."""
    random = np.random.default_rng(0)
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, count + 1):
        image = random.integers(0, 256, (20, 24 + number, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.arange(count) % 102 + 1})
    numbers = np.arange(1, count + 1)
    savemat(folder / "setid.mat", {"trnid": numbers[0::3], "valid": numbers[1::3], "tstid": numbers[2::3]})
    hashes = {
        key: (name, hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest())
        for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", {"image": ("102flowers.tgz", ""), **hashes})


def write_folder(root: Path, classes: tuple[str, ...] = (), count: int = 6) -> None:
    """Images of several sizes and modes, in a sub-folder per class if there are classes."""
    random = np.random.default_rng(0)
    modes = ("RGB", "L", "RGBA", "P", "CMYK")
    for index in range(count):
        folder = root / classes[index % len(classes)] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (20 + index, 24, 3), dtype=np.uint8))
        mode = modes[index % len(modes)]
        image.convert(mode).save(folder / f"{index}.{'jpg' if mode == 'CMYK' else 'png'}")

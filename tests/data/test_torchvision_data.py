"""The data sets of torchvision, on small files in their formats: images, labels, parts, and what is refused."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from lab_ddpm.data import torchvision_data
from lab_ddpm.data.torchvision_data import DEBIAN_FASHION_MNIST, TORCHVISION_DATASETS, open_torchvision
from lab_ddpm.tools.errors import DataError
from real_formats import write_cifar10, write_flowers102, write_mnist


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy answers, so a download fails at once wherever the tests run."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))


def test_digits_are_padded_with_black_and_carry_their_class(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    dataset = open_torchvision("mnist", tmp_path, 32)
    raw = datasets.MNIST(tmp_path, train=True)
    assert dataset.images.shape == (12, 32, 32, 1)
    np.testing.assert_array_equal(dataset.images[:, 2:30, 2:30, 0], raw.data.numpy())
    assert not dataset.images[:, :2].any()
    assert not dataset.images[:, :, 30:].any()
    assert dataset.class_labels.shape == (12, 10)
    assert dataset.class_labels.argmax(dim=1).tolist() == raw.targets.tolist()
    assert dataset.labels[0] == "0 - zero"


def test_the_held_out_part_is_another_one_and_both_are_decoded_once(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    training, held_out = (open_torchvision("mnist", tmp_path, 32, held_out=part) for part in (False, True))
    assert (training.images != held_out.images).any()
    assert not set(training.names) & set(held_out.names)
    caches = list((tmp_path / "MNIST" / "raw" / ".cache").glob("*.npy"))
    written = {path: path.stat().st_ino for path in caches}
    assert len(written) == 2
    for part in (False, True, False):
        open_torchvision("mnist", tmp_path, 32, held_out=part)
    assert {path: path.stat().st_ino for path in caches} == written


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    dataset = open_torchvision("cifar10", tmp_path, 32)
    raw = datasets.CIFAR10(tmp_path, train=True)
    np.testing.assert_array_equal(dataset.images, raw.data)
    assert dataset.class_labels.argmax(dim=1).tolist() == raw.targets
    assert dataset.labels[:2] == ("airplane", "automobile")
    assert len(open_torchvision("cifar10", tmp_path, 32, held_out=True)) == 4


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle of unknown origin was opened",))


def test_a_cifar10_batch_with_another_hash_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"cifar10: .*data_batch_1"):
        open_torchvision("cifar10", tmp_path, 32)


def test_flowers102_trains_on_its_training_and_test_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flowers102(tmp_path, monkeypatch)
    dataset = open_torchvision("flowers102", tmp_path, 16)
    assert dataset.images.shape == (8, 16, 16, 3)
    assert dataset.class_labels.argmax(dim=1).tolist() == [0, 3, 6, 9, 2, 5, 8, 11]
    assert len(open_torchvision("flowers102", tmp_path, 16, held_out=True)) == 4


def test_a_broken_flower_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flowers102(tmp_path, monkeypatch)
    (tmp_path / "flowers-102" / "jpg" / "image_00004.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="image_00004"):
        open_torchvision("flowers102", tmp_path, 16)


@pytest.mark.parametrize("name", TORCHVISION_DATASETS)
def test_without_files_and_network_it_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_torchvision(name, tmp_path, 32)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="mnist: "):
        open_torchvision("mnist", tmp_path, 32)


def test_fashion_mnist_is_unpacked_from_the_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "source", "FashionMNIST")
    package = tmp_path / "package"
    package.mkdir()
    for path in (tmp_path / "source" / "FashionMNIST" / "raw").iterdir():
        with gzip.open(package / f"{path.name}.gz", "wb") as file:
            file.write(path.read_bytes())
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", package)
    dataset = open_torchvision("fashion_mnist", tmp_path / "root", 32)
    assert dataset.images.shape == (12, 32, 32, 1)
    assert dataset.labels[9] == "Ankle boot"


@pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed"
)
def test_the_real_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", DEBIAN_FASHION_MNIST)
    dataset = open_torchvision("fashion_mnist", tmp_path, 32, held_out=True)
    assert dataset.images.shape == (10_000, 32, 32, 1)
    assert dataset.class_labels.sum(dim=0).tolist() == [1000] * 10

"""Every preset trains and samples on a few images in its data set's format."""

from pathlib import Path

import pytest
from PIL import Image

from conftest import save_random_classifiers
from lab_ddpm.cli import main
from lab_ddpm.data import torchvision_data
from lab_ddpm.data.images import height_width
from lab_ddpm.training.config_parser import parse_config
from real_formats import write_cifar10, write_flowers102, write_folder, write_mnist

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = sorted(CONFIGS.glob("*.yaml"))
DAILY = ("iclevr_cpu", "fashion_mnist_cpu", "folder_cpu")  # trained by `make test`; the others by `make test-all`
SMALL = {
    "epochs": 1,
    "batch_size": 10,
    "device": "cpu",
    "mixed_precision": "no",
    "data.num_workers": 0,
    "model.block_out_channels": "[32, 32]",
    "model.attention_levels": "[1]",
    "model.attention_head_dim": 32,
    "model.layers_per_block": 1,
    "model.patch_size": 4,
    "sampling.steps": 1,
    "evaluation.num_images": 4,
}
SMALL_ARGUMENTS = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]


def write_data(dataset: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_data, "DEBIAN_FASHION_MNIST", Path("/absent"))
    if dataset == "mnist":
        write_mnist(root)
    elif dataset == "fashion_mnist":
        write_mnist(root, "FashionMNIST")
    elif dataset == "cifar10":
        write_cifar10(root, monkeypatch)
    elif dataset == "flowers102":
        write_flowers102(root, monkeypatch, 24)
    else:
        write_folder(root, count=12)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=() if path.stem in DAILY else pytest.mark.slow) for path in PRESETS],
)
def test_preset_trains_and_samples(
    path: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse_config(["--config", str(path)])
    root = tmp_path / "data"
    if config.data.dataset != "iclevr":
        root = tmp_path / "images"
        write_data(config.data.dataset, root, monkeypatch)
    elif config.evaluation.metric != "none":
        save_random_classifiers(names=("resnet18",))
    arguments = ["--data.root", str(root), *SMALL_ARGUMENTS]
    assert main(["train", "--config", str(path), *arguments]) == 0
    run = Path(config.runs_dir) / config.name
    assert len(list((run / "samples").glob("step_*.png"))) == 1
    arguments = ["--checkpoint", str(run / "best"), "--steps", "1", "--num-images", "3", "--out", "made"]
    assert main(["generate", *arguments]) == 0
    with Image.open("made/00.png") as image:
        assert image.size == height_width(config.data.image_size)[::-1]
        channels = 1 if config.data.dataset in ("mnist", "fashion_mnist") else 3
        assert len(image.getbands()) == channels


def test_a_labelled_data_set_trains_a_conditional_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_data("mnist", tmp_path / "images", monkeypatch)
    arguments = ["--config", str(CONFIGS / "mnist.yaml"), "--data.root", str(tmp_path / "images"), *SMALL_ARGUMENTS]
    conditional = ["--data.conditional", "true", "--model.condition_dropout", "0.1"]
    assert main(["train", *arguments, *conditional]) == 0
    assert main(["generate", "--steps", "1", "--objects", "3 - three", "--out", "three"]) == 0
    assert main(["generate", "--steps", "1", "--num-images", "12", "--out", "all"]) == 0
    assert main(["generate", "--steps", "1", "--num-images", "2", "--unconditional", "--out", "none"]) == 0
    assert main(["generate", "--steps", "1", "--objects", "red cube"]) == 2

"""Bad input of all kinds: one line that names what is wrong, an exit code, and nothing on the disk has changed."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest
import yaml

from conftest import TINY_RUN, save_random_classifiers
from lab_ddpm.cli import main

Content = str | bytes | None | Callable[[Path], None]
"""Of a file: its text, its bytes, None to remove it, or a function that writes it."""


def half(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def huge_image(path: Path) -> None:
    """A PNG file of few bytes and 3.6 billion pixels."""
    out = io.BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ):
        out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    put(path, out.getvalue())


def zip_of(**members: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)

    return write


def zip_with_link(path: Path) -> None:
    with ZipFile(path, "w") as archive:
        member = ZipInfo("train.json")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")


def put(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
        return
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)  # it may be a hard link to the template's
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


GENERATE = "generate --steps 1 --objects 'red cube' "
TRAIN = "train --config tiny.yaml "
EDIT = "edit data/images/CLEVR_train_000000_0.png --objects 'red cube' "
INTERPOLATE = "interpolate --images data/images/CLEVR_train_000000_0.png data/images/CLEVR_train_000000_1.png "
BEST = "runs/tiny/best"
WEIGHTS = f"{BEST}/denoiser/diffusion_pytorch_model.safetensors"
IMAGE = "data/images/CLEVR_train_000000_0.png"

# Command, exit code, what the line names, files that are put beside it.
CASES: list[tuple[str, int, str] | tuple[str, int, str, dict[str, Content]]] = [
    # the program and its options
    ("nonsense", 2, "nonsense"),
    ("trian", 2, "train"),
    ("generate --nonsense", 2, "--nonsense"),
    ("generate --guidance-scal 2", 2, "--guidance-scale"),
    ("train --nonsense 1", 2, "nonsense"),
    # conditions
    ("generate --objects ''", 2, "label"),
    ("generate --objects 'pink cube'", 2, "pink cube"),
    ("generate --objects 'red cube, red cube'", 2, "red cube"),
    ("generate --objects", 2, "--objects"),
    (GENERATE + "--split test", 2, "--split"),
    ("generate --split test --and 'red cube'", 2, "--and"),
    ("generate --split test --num-images 2", 2, "--num-images"),
    ("generate --split tset", 2, "tset"),
    ("generate --split absent.json", 1, "absent.json"),
    ("generate --split own.json", 1, "own.json", {"own.json": ""}),
    ("generate --split own.json", 1, "own.json", {"own.json": "[" * 100_000}),
    ("generate --split own.json", 1, "own.json", {"own.json": '["red cube"]'}),
    ("generate --split own.json", 1, "own.json", {"own.json": '[["red cube"], ["pink cube"]]'}),
    # how images are sampled
    (GENERATE + "--steps 0", 2, "steps"),
    (GENERATE + "--steps 1.5", 2, "--steps"),
    (GENERATE + "--seed -1", 2, "seed"),
    (GENERATE + "--guidance-scale nan", 2, "guidance_scale"),
    (GENERATE + "--scheduler dimd", 2, "ddim"),
    (GENERATE + "--runtime jax", 2, "runtime"),
    (GENERATE + "--runtime onnx", 1, "denoiser.onnx"),
    ("generate --steps 1 --place 'red cube@nan,2'", 2, "red cube@nan,2"),
    ("generate --steps 1 --place 'red cube@1,2'", 2, "--checkpoint pretrained/iclevr-cpu"),
    # checkpoints
    (GENERATE + "--checkpoint absent", 1, "absent"),
    (GENERATE + "--checkpoint data", 1, "model_index.json"),
    (GENERATE + "--checkpoint runs/tiny", 1, BEST),
    (GENERATE, 1, BEST, {f"{BEST}/model_index.json": "[]"}),
    (GENERATE, 1, BEST, {f"{BEST}/model_index.json": '{"_class_name": "DDPMPipeline"}'}),
    (GENERATE, 1, BEST, {f"{BEST}/denoiser/config.json": "{}"}),
    (GENERATE, 1, BEST, {f"{BEST}/scheduler/scheduler_config.json": '{"num_train_timesteps": "many"}'}),
    (GENERATE, 1, BEST, {f"{BEST}/scheduler": None}),
    (GENERATE, 1, WEIGHTS, {WEIGHTS: half}),
    (GENERATE, 1, WEIGHTS, {WEIGHTS: None}),
    # where results go
    (GENERATE + "--out data", 1, "data"),
    (GENERATE + "--out /proc/x", 1, "/proc/x"),
    (GENERATE + "--out out", 1, "out/manifest.json", {"out/manifest.json": '{"images": ["a.png"]}', "out/a.png": "x"}),
    # scores
    ("evaluate --root data --images data", 2, "--split"),
    ("evaluate --root data --images data/images --split test", 1, "data/images"),
    ("evaluate --root data --images data --split test --steps 9", 2, "--images"),
    ("evaluate --root data --steps 1", 1, "evaluator/referee.safetensors", {"evaluator/referee.safetensors": half}),
    ("evaluate --root data --steps 1", 1, "evaluator/checkpoint.pth", {"evaluator/checkpoint.pth": "import os"}),
    # settings of a training
    (TRAIN + "--epochs 0", 2, "epochs"),
    (TRAIN + "--epochs x", 2, "epochs"),
    (TRAIN + "--batch_size 1000000", 2, "batch_size"),
    (TRAIN + "--gradient_accumulation_steps 3", 2, "gradient_accumulation_steps"),
    (TRAIN + "--name ../../up", 2, "name"),
    (TRAIN + "--optimizer.learning_rate nan", 2, "learning_rate"),
    (TRAIN + "--model.patch_size 3", 2, "image_size"),
    (TRAIN + "--model.block_out_channels '[7]'", 2, "block_out_channels"),
    (TRAIN + "--model.beta_schedule square", 2, "beta_schedule"),
    (TRAIN + "--model.condition_dropout 1", 2, "condition_dropout"),
    (TRAIN + "--loss.name l3", 2, "loss.name"),
    (TRAIN + "--data.image_size '[15, 16]'", 2, "image_size"),
    (TRAIN + "--data.num_scenes 8 --data.root /proc/x", 1, "/proc/x"),
    (TRAIN + "--data.root new --data.num_scenes 2 --evaluation.split tset", 2, "split"),
    (TRAIN + "--sampling.steps 2000", 2, "steps"),
    (TRAIN + "--init_from absent", 1, "absent"),
    (TRAIN + f"--init_from {BEST} --model.layers_per_block 2", 2, "layers_per_block"),
    ("train --config absent.yaml", 2, "absent.yaml"),
    ("train --config own.yaml", 2, "own.yaml", {"own.yaml": "epochs: ["}),
    ("train --config own.yaml", 2, "nonsense", {"own.yaml": "model: {nonsense: 1}"}),
    ("train --config own.yaml", 2, "own.yaml", {"own.yaml": "extends: own.yaml"}),
    ("train --config own.yaml", 2, "own.yaml", {"own.yaml": "a: &a [*a]"}),
    ("train --config own.yaml", 2, "own.yaml", {"own.yaml": "epochs: 1\nepochs: 2"}),
    ("train --config own.yaml", 2, "own.yaml", {"own.yaml": '!!python/object/apply:os.system ["touch hacked"]'}),
    # images to train on
    (TRAIN, 1, "data/train.json", {"data/train.json": "[]"}),
    (TRAIN, 1, "../a.png", {"data/train.json": '{"../a.png": ["red cube"]}'}),
    (TRAIN, 1, "data/train.json", {"data/train.json": '{"CLEVR_train_000000_0.png": ["pink cube"]}'}),
    (TRAIN, 1, IMAGE, {IMAGE: half}),
    (TRAIN, 1, IMAGE, {IMAGE: huge_image}),
    (TRAIN, 1, Path(IMAGE).name, {IMAGE: None}),
    ("import-data absent", 1, "absent"),
    ("import-data src --out new", 1, "src", {"src/test.json": '[["pink cube"]]'}),
    ("import-data src.zip --out new", 1, "src.zip", {"src.zip": zip_of(**{"../train.json": "{}"})}),
    ("import-data src.zip --out new", 1, "train.json", {"src.zip": zip_with_link}),
    ("render --num-scenes 0 --out new", 2, "num-scenes"),
    ("render --num-scenes 1 --out /proc/x", 1, "/proc/x"),
    # other commands
    ("interpolate", 2, "--conditions"),
    ("interpolate --conditions 'red cube' 'blue cube' --count 1 --steps 2", 2, "count"),
    ("interpolate --conditions 'red cube' 'blue cube' --timestep 5", 2, "--timestep"),
    ("interpolate --images data/train.json data/train.json", 1, "data/train.json"),
    (INTERPOLATE + "--guidance-scale 2", 2, "--guidance-scale"),
    (INTERPOLATE + "--timestep -1", 2, "timestep"),
    ("edit absent.png --objects 'red cube' --remove 'red cube'", 1, "absent.png"),
    (EDIT, 2, "--remove"),
    (EDIT + "--remove 'red cube'", 2, "only one"),
    (EDIT + "'cyan sphere' --remove ' red  cube'", 2, "layout"),
    (EDIT + "--replace 'red  cube' 'blue  cube'", 2, "layout"),
    ("report absent", 1, "absent"),
    ("report data", 1, "config.yaml"),
    (f"report {BEST}", 1, BEST),
    ("playground --port 99999", 2, "port"),
    ("playground --checkpoint absent --port 47123", 1, "absent"),
    ("export", 2, "kind"),
    (f"export hub --checkpoint {BEST} --out data", 1, "data"),
    ("export onnx --checkpoint absent", 1, "absent"),
    ("import-checkpoint data/train.json --out new", 1, "data/train.json"),
    ("train-classifier --names nonsense", 2, "nonsense"),
    ("train-classifier --root absent --out new", 1, "absent"),
]


@pytest.fixture(scope="module")
def template(dataset_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a random pipeline, random classifiers and the settings of a short run."""
    from conftest import tiny_denoiser
    from lab_ddpm.data.iclevr import OBJECTS
    from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline

    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(dataset_template, folder / "data")
    LabelConditionalPipeline(tiny_denoiser(labels=OBJECTS), "ddim").save_pretrained(folder / BEST)
    save_random_classifiers(folder / "evaluator")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(nested({**TINY_RUN, "name": "new", "data.root": "data"})))
    return folder


@pytest.mark.parametrize("case", CASES, ids=[f"{index}: {case[0]}" for index, case in enumerate(CASES)])
def test_bad_input(
    case: tuple[Any, ...],
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, code, named, *files = case
    place = Path(shutil.copytree(template, tmp_path / "place", copy_function=os.link))
    monkeypatch.chdir(place)
    for name, content in (files[0] if files else {}).items():
        put(place / name, content)
    before = snapshot(tmp_path)
    assert main(shlex.split(command)) == code
    errors = capsys.readouterr().err
    assert len([line for line in errors.splitlines() if line.startswith("lab-ddpm: ")]) == 1
    assert named in errors
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Which files there are and when they changed; without caches and the folder of the run that is tried."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and ".cache" not in path.parts and folder / "place/runs/new" not in path.parents:
            status = path.stat()
            found[path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """{"data.root": 1} -> {"data": {"root": 1}}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        *section, name = key.split(".")
        place = result.setdefault(section[0], {}) if section else result
        place[name] = list(value) if isinstance(value, tuple) else value
    return result

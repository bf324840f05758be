"""The commands as a user types them: what they write, and the one line that bad input gets."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import LAUNCH_TWO, save_random_classifiers, save_tiny_pipeline, tiny_arguments, tiny_denoiser
from lab_ddpm.cli import commands, main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.evaluation.classifiers import CLASSIFIERS
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.tools.errors import UserError

ROOT = Path(__file__).parents[1]
FIGURES = ["captioned.png", "grid.png", "manifest.json"]


@pytest.fixture
def workplace(
    tiny_dataset: Path, tiny_pipeline: LabelConditionalPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder like the repository's root, with a random pipeline in runs/ and random classifiers."""
    monkeypatch.chdir(tmp_path)
    tiny_pipeline.save_pretrained("runs/tiny/best")
    save_random_classifiers()
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("patch_size", "is_told"), [(1, True), (2, False)])
def test_before_anything_is_rendered_a_cpu_is_told_that_the_config_is_for_a_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patch_size: int,
    is_told: bool,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise UserError("rendering")

    monkeypatch.setattr("lab_ddpm.training.provide_images.render_replica", stop)
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("resnet18",))
    assert (
        main(["train", *tiny_arguments(tmp_path, data__root="none", data__num_scenes=2, model__patch_size=patch_size)])
        == 2
    )
    output, error = capsys.readouterr()
    assert error == "lab-ddpm: rendering\n"
    assert ("configs/iclevr_cpu.yaml is made for that" in output) == is_told


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--evaluation.split", "tset", "`split` must be one of"),
        ("--model.conditional", "24", "model.conditional"),
        ("--mixed_precision", "fp16", "`mixed_precision` must be 'auto', 'no' or 'bf16' on a CPU"),
    ],
)
def test_what_is_wrong_with_a_training_is_said_before_anything_is_rendered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path, data__num_scenes=2), option, value]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data" / "images").exists()


@pytest.mark.usefixtures("workplace")
def test_generate_writes_one_image_per_condition_a_grid_and_a_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--root", "data", "--split", "new_test", "--steps", "2", "--progress"]) == 0
    out = Path("generated/new_test")
    printed = lines(capsys)
    assert printed[0] == "checkpoint: runs/tiny/best"
    assert printed[-1].startswith("wrote 32 images")
    assert str(out) in printed[-1]
    names = [f"{index:02d}.png" for index in range(32)]
    assert {path.name for path in out.iterdir()} == {*names, *FIGURES, "strip.png", "denoising.gif"}
    manifest = json.loads((out / "manifest.json").read_text())["images"]
    assert [entry["file"] for entry in manifest] == names
    assert [entry["condition"] for entry in manifest] == json.loads(Path("data/new_test.json").read_text())
    assert {entry["checkpoint_hash"] for entry in manifest} == {checkpoint_hash("runs/tiny/best")}
    assert len({entry["seed"] for entry in manifest}) == 32
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (8 * 18 + 2, 4 * 18 + 2)


@pytest.mark.usefixtures("workplace")
def test_more_objects_than_any_image_shows_are_drawn_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    four = ["red cube", "cyan sphere", "gray cube", "blue sphere"]
    for objects, is_said in ((four, True), (four[:3], False)):
        assert main(["generate", "--objects", *objects, "--steps", "1"]) == 0
        assert ("no training image shows so many" in capsys.readouterr().out) is is_said


@pytest.mark.usefixtures("workplace")
def test_a_shorter_list_leaves_no_images_of_a_longer_one() -> None:
    assert main(["generate", "--root", "data", "--split", "test", "--steps", "1", "--out", "out"]) == 0
    assert main(["generate", "--objects", "red cube", "cyan sphere", "--steps", "1", "--out", "out"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["00.png", *FIGURES]


@pytest.mark.usefixtures("workplace")
def test_many_images_of_one_condition_and_no_strip_of_an_earlier_call() -> None:
    arguments = ["generate", "--objects", "red cube", "--steps", "1", "--out", "out"]
    assert main([*arguments, "--num-images", "3", "--progress"]) == 0
    assert main([*arguments, "--num-images", "2"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["00.png", "01.png", *FIGURES]
    assert Path("out/00.png").read_bytes() != Path("out/01.png").read_bytes()


@pytest.mark.usefixtures("workplace")
def test_a_manifest_of_another_program_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/manifest.json").write_text('{"images": ["important.png"]}')
    Path("out/important.png").touch()
    assert main(["generate", "--objects", "red cube", "--steps", "1", "--out", "out"]) == 1
    assert "out/manifest.json: not as this program writes it" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == ["important.png", "manifest.json"]


@pytest.mark.usefixtures("workplace")
def test_a_list_of_ones_own_and_the_seed_decide_the_images() -> None:
    Path("own.json").write_text('[["red cube", "blue sphere"], ["gray cylinder"]]')
    for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["generate", "--split", "own.json", "--steps", "2", "--seed", seed, "--out", out]) == 0
    a, b, c = (np.asarray(Image.open(Path(out) / "01.png")) for out in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("labels", [("cat", "dog"), ()], ids=["labels", "no labels"])
def test_a_list_of_iclevr_for_a_model_of_other_images_names_both_checkpoints(
    labels: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("runs/tiny")
    save_tiny_pipeline("runs/pets/best", 3, labels)
    assert main(["generate", "--root", "data", "--split", "test", "--steps", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "`split` 'test' is of i-CLEVR, and runs/pets/best was not trained on its objects" in line
    assert "`--checkpoint pretrained/iclevr-cpu` was" in line
    Path("own.json").write_text('[["cat"], ["dog"]]')
    assert main(["generate", "--split", "own.json", "--steps", "1"]) == (0 if labels else 2)


@pytest.mark.usefixtures("workplace")
def test_generate_composes_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    for name, *more in (("plain",), ("and", "--and", "cyan sphere"), ("not", "--not", "gray cube", "gray sphere")):
        arguments = ["--objects", "red cube", *more, "--num-images", "2", "--steps", "2", "--guidance-scale", "3"]
        assert main(["generate", *arguments, "--out", name]) == 0
    manifests = {name: json.loads(Path(name, "manifest.json").read_text()) for name in ("plain", "and", "not")}
    assert [image["condition"] for image in manifests["and"]["images"]] == [["red cube", "cyan sphere"]] * 2
    assert manifests["and"]["and"] == [["red cube"], ["cyan sphere"]]
    assert manifests["not"]["not"] == [["gray cube"], ["gray sphere"]]
    images = [np.asarray(Image.open(f"{name}/00.png"), int) for name in manifests]
    assert min(abs(images[0] - other).mean() for other in images[1:]) > 1
    assert main(["generate", "--unconditional", "--not", "red cube", "--num-images", "1", "--steps", "2"]) == 0
    assert "composed" in lines(capsys)[-1]
    for wrong in (["--split", "test"], ["--objects", "red cube", "--tries", "2"]):
        assert main(["generate", *wrong, "--not", "gray cube"]) == 2
        assert "`--not`" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_two_processes_make_the_images_of_one() -> None:
    """Three images for two processes, then one, of which the second process has none."""
    for count in ("3", "1"):
        arguments = ["--objects", "red cube", "--num-images", count, "--steps", "2"]
        assert main(["generate", *arguments, "--out", f"one-{count}"]) == 0
        script = [str(ROOT / "scripts" / "generate.py"), *arguments, "--out", f"two-{count}"]
        subprocess.run([*LAUNCH_TWO, *script], check=True, capture_output=True)
        for index in range(int(count)):
            one, two = (np.asarray(Image.open(f"{name}-{count}/{index:02d}.png"), int) for name in ("one", "two"))
            assert abs(one - two).max() <= 1


@pytest.mark.usefixtures("workplace")
def test_evaluate_samples_both_lists_and_writes_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--root", "data", "--num-seeds", "2", "--steps", "1"]) == 0
    metrics = json.loads(Path("evaluation/metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert metrics["checkpoint"] == "runs/tiny/best"
    for name in CLASSIFIERS:
        file = Path(f"evaluator/{name}.safetensors")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert metrics["classifiers"][name] == {"file": file.name, "sha256": digest}
    assert set(metrics["splits"]) == {"test", "new_test"}
    for by_classifier in metrics["splits"].values():
        assert set(by_classifier) == set(CLASSIFIERS)
        for scores in by_classifier.values():
            low, high = scores["micro"]["ci95"]
            assert 0 <= low <= scores["micro"]["mean"] <= high <= 1
            assert {"exact_match", "by_object_count", "by_object"} <= set(scores)
    assert "evaluation/metrics.json" in lines(capsys)[-1]


@pytest.mark.usefixtures("workplace")
def test_images_that_exist_are_scored_as_the_sampled_ones_are(capsys: pytest.CaptureFixture[str]) -> None:
    sampling = ["--root", "data", "--split", "test", "--steps", "2"]
    assert main(["generate", *sampling, "--out", "made"]) == 0
    assert main(["evaluate", *sampling, "--num-seeds", "1", "--out", "sampled"]) == 0
    assert main(["evaluate", "--root", "data", "--images", "made", "--split", "test", "--out", "scored"]) == 0
    other = ["evaluate", "--root", "data", "--images", "made", "--split", "new_test", "--out", "other"]
    assert main(other) == 2
    assert "made for other conditions than those of 'new_test'" in capsys.readouterr().err
    sampled, scored = (json.loads((Path(out) / "metrics.json").read_text())["splits"] for out in ("sampled", "scored"))
    assert sampled == scored
    manifest = json.loads(Path("made/manifest.json").read_text())
    Path("made/manifest.json").write_text(json.dumps(manifest | {"tries": 4}))
    assert main(["evaluate", "--root", "data", "--images", "made", "--split", "test", "--out", "scored"]) == 0
    assert "the best of up to 4 (`--tries`)" in capsys.readouterr().out
    assert json.loads(Path("scored/metrics.json").read_text())["tries"] == 4


def test_render_writes_a_data_set_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("resnet18",))
    assert main(["render", "--num-scenes", "2", "--workers", "2", "--out", "data"]) == 0
    assert main(["train", *tiny_arguments(tmp_path, data__num_scenes=2)]) == 0
    assert "scenes" not in capsys.readouterr().out.split("wrote 6 images")[1]
    assert main(["train", *tiny_arguments(tmp_path, data__num_scenes=3, name="more")]) == 0
    assert "data has a replica of 2 scenes, and `data.num_scenes` is 3" in capsys.readouterr().out
    assert (tmp_path / "runs" / "tiny" / "best" / "model_index.json").is_file()


@pytest.mark.usefixtures("workplace")
def test_the_shipped_pipeline_is_the_default_where_there_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pretrained").mkdir()
    Path("runs/tiny/best").rename("pretrained/iclevr-cpu")
    assert main(["generate", "--objects", "red cube", "--steps", "1"]) == 0
    assert lines(capsys)[0] == "checkpoint: pretrained/iclevr-cpu"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["generate", "--objects", "red cub"], 2, "lab-ddpm: did you mean 'red cube'? an object must be one of"),
        (
            ["generate", "--guidance-scal", "2"],
            2,
            "did you mean '--guidance-scale'? unrecognized arguments: --guidance-scal 2",
        ),
        (
            ["generate", "--guidance", "2"],
            2,
            "did you mean '--guidance-scale' or '--guidance-stop'? unrecognized arguments: --guidance 2",
        ),
        (["evaluate", "--nonsense", "2"], 2, "lab-ddpm: unrecognized arguments: --nonsense 2 (see lab-ddpm evaluate"),
        (["train", "--epoch", "2"], 2, "unrecognized arguments: --epoch 2"),
        (["generate", "--objects", "red cube, pink sphere"], 2, "got 'pink sphere'"),
        (["generate", "--objects", "red cube", "red cube"], 2, "must not name an object twice"),
        (["generate", "--root", "data", "--split", "tset"], 2, "`split` must be one of ['test', 'new_test'"),
        (["generate", "--split", "absent.json"], 1, "absent.json: no such condition list"),
        (["generate", "--split", "empty.json"], 1, "empty.json: must be a non-empty JSON list"),
        (["generate", "--split", "shape.json"], 1, "shape.json: condition 0: a condition must be a list"),
        (["generate", "--objects", "red cube", "--scheduler", "dimd"], 2, "`scheduler` must be one of ['ddpm'"),
        (["generate", "--objects", "red cube", "--steps", "0"], 2, "`steps` must be between 1 and 1000, got 0"),
        (["generate", "--objects", "red cube", "--steps", "x"], 2, "argument --steps: invalid int value: 'x'"),
        (["generate", "--objects", "red cube", "--guidance-scale", "-1"], 2, "must be positive, got -1.0"),
        (["generate", "--objects", "red cube", "--seed", "-1"], 2, "`seed` must be at least 0, got -1"),
        (["generate", "--objects", "red cube", "--checkpoint", "absent"], 1, "absent: no such checkpoint folder"),
        (["generate", "--objects", "red cube", "--checkpoint", "data"], 1, "data: not a saved pipeline"),
        (["generate", "--objects", "red cube", "--checkpoint", "runs/tiny"], 1, "did you mean runs/tiny/best?"),
        (["generate", "--objects", "red cube", "--steps", "1", "--out", "data"], 1, "data: holds files that this"),
        (["generate", "--objects", "red cube", "--checkpoint", "half"], 1, "half: this checkpoint is incomplete"),
        (["generate", "--objects", "red cube", "--checkpoint", "other"], 1, "must hold a LabelConditionalPipeline"),
        (["generate", "--objects", "red cube", "--out", "/proc/generated"], 1, "/proc/generated"),
        (["evaluate", "--root", "data", "--num-seeds", "0"], 2, "`num-seeds` must be at least 1, got 0"),
        (["generate", "--root", "data", "--split", "test", "--num-images", "2"], 2, "does not go with `--split`"),
        (["generate", "--unconditional", "--guidance-scale", "2"], 2, "must be 1 where there is no condition, got 2.0"),
        (
            ["interpolate", "--conditions", "red cube", "blue cube", "--timestep", "500"],
            2,
            "`--timestep`, `--mixing` and `--noise` are for `--images`",
        ),
        (
            ["evaluate", "--root", "data", "--images", "data", "--split", "test", "--steps", "9"],
            2,
            "options of sampling do not go with it",
        ),
        (
            ["train-classifier", "--dataset", "mnist", "--root", "data", "--names", "referee"],
            2,
            "`--names` is for i-CLEVR",
        ),
        (["train-classifier", "--image-size", "32"], 2, "`--image-size` is for other data sets"),
        (["evaluate", "--images", "data"], 2, "`--images` needs the one `--split`"),
        (["evaluate", "--root", "data", "--images", "absent", "--split", "test"], 1, "absent: no such folder"),
        (["render", "--num-scenes", "0", "--out", "new"], 2, "`num-scenes` must be at least 1, got 0"),
        (["report", "absent"], 1, "absent"),
        (["report", "runs/tiny/best"], 1, "runs/tiny/best: a pipeline, and a report is about the folder of a run"),
        (["import-data", "absent"], 1, "absent: no such folder or zip file"),
        (["trian"], 2, "lab-ddpm: did you mean 'train'? the command must be one of ['ablate', "),
    ],
)
def test_bad_input_gets_one_line_and_an_exit_code(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (workplace / "empty.json").write_text("[]")
    (workplace / "shape.json").write_text('["red cube"]')
    (workplace / "other").mkdir()
    (workplace / "other" / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    (workplace / "half").mkdir()
    (workplace / "half" / "model_index.json").write_bytes((workplace / "runs/tiny/best/model_index.json").read_bytes())
    assert main(arguments) == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("lab-ddpm: ")
    assert message in error[0]


def test_weights_of_another_model_are_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = workplace / "runs/tiny/best/denoiser/config.json"
    config.write_text(config.read_text().replace('"layers_per_block": 1', '"layers_per_block": 2'))
    assert main(["generate", "--objects", "red cube", "--steps", "1"]) == 1
    assert "another model" in capsys.readouterr().err


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_that_begins_with_its_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: lab-ddpm {command} ")


def test_the_program_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lab_ddpm {version('lab_ddpm')}\n"


def test_the_help_of_the_program_names_every_script_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == 0
    words = capsys.readouterr().out
    for script in (ROOT / "scripts").glob("*.py"):
        first = script.read_text(encoding="utf-8").removeprefix('"""').splitlines()[0].removesuffix('"""')
        assert f"  {script.stem.replace('_', '-'):<22}{first}\n" in words


def test_a_script_has_help_and_no_traceback_for_a_usage_error() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "generate.py")]
    help_text = subprocess.run([*script, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in help_text for option in ("--split", "--objects", "--scheduler", "--steps", "--progress"))
    failed = subprocess.run([*script, "--stepz", "5"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("lab-ddpm: did you mean '--steps'? unrecognized arguments: --stepz 5")
    assert "Traceback" not in failed.stderr


def test_objects_are_placed_and_a_image_is_edited(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    denoiser = tiny_denoiser(
        labels=OBJECTS, patch_size=4, prediction_type="sample", layout_scale=2.0, layout_dropout=0.1
    )
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained("runs/tiny/best")
    assert main(["generate", "--place", "red cube@4,5", "cyan sphere@12,9", "--num-images", "2", "--steps", "2"]) == 0
    entries = json.loads(Path("generated/placed/manifest.json").read_text())["images"]
    assert [entry["condition"] for entry in entries] == [["red cube", "cyan sphere"]] * 2
    arguments = ["edit", "generated/placed/00.png", "--objects", "red cube, cyan sphere", "--steps", "2"]
    assert main([*arguments, "--add", "green sphere@1,1"]) == 0
    assert "wrote edited.png and before_after.png to edited/" in capsys.readouterr().out
    before, after = (np.asarray(Image.open(path)) for path in ("generated/placed/00.png", "edited/edited.png"))
    assert before.shape == after.shape == (16, 16, 3)
    assert (before != after).any()
    assert (before[:, 12:] == after[:, 12:]).all()
    assert main(["generate", "--objects", "red cube", "--num-images", "3", "--steps", "2", "--tries", "2"]) == 0
    assert re.search(r"^[0-3] of 3 images are later tries", capsys.readouterr().out, re.MULTILINE)
    assert json.loads(Path("generated/objects/manifest.json").read_text())["tries"] == 2
    assert len(json.loads(Path("generated/objects/manifest.json").read_text())["images"]) == 3
    assert main(["generate", "--place", "red cube@4,5", "--tries", "2"]) == 2
    assert "`--tries` goes neither with `--place` nor with `--progress`" in capsys.readouterr().err
    for wrong, message in (
        (["--add", "blue cube"], "a place must be written as LABEL@X,Y"),
        (["--remove", "blue cube"], "the object must be one of ['red cube', 'cyan sphere'], got 'blue cube'"),
        (["--replace", "red cube", "pink cube"], "got 'pink cube'"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_images_need_not_be_square(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    layout = {
        "model__layout_scale": 2.0,
        "model__patch_size": 2,
        "diffusion__prediction_type": "sample",
        "objective__layout_dropout": 0.1,
    }
    assert main(["train", *tiny_arguments(tmp_path, data__image_size=(12, 16), **layout)]) == 0
    assert main(["generate", "--place", "red cube@12,5", "--num-images", "2", "--steps", "2"]) == 0
    with Image.open("generated/placed/00.png") as image:
        assert image.size == (16, 12)
    edit = ["edit", "generated/placed/00.png", "--objects", "red cube", "--steps", "2"]
    assert main([*edit, "--add", "green sphere@3,9"]) == 0
    before, after = (np.asarray(Image.open(path)) for path in ("generated/placed/00.png", "edited/edited.png"))
    assert before.shape == after.shape == (12, 16, 3)
    assert (before != after).any()
    assert (before[:, 12:] == after[:, 12:]).all()

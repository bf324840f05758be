"""The commands as a user types them: what they write, and how fast they answer. Bad input is in bad_inputs/."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import LAUNCH_TWO, save_random_classifiers, save_tiny_pipeline, tiny_arguments, tiny_denoiser
from lab_ddpm.cli import GROUPS, commands, main
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.evaluation.classifiers import CLASSIFIERS
from lab_ddpm.evaluation.counter import COUNTER_FILE
from lab_ddpm.generation.checkpoint import checkpoint_hash
from lab_ddpm.tools.errors import UserError
from lab_ddpm.tools.extras import EXTRAS, require_extra
from lab_ddpm.tools.files import sha256
from lab_ddpm.tools.shipped import find_shipped

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


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, int)


def images_of(manifest: str) -> list[dict]:
    return json.loads(Path(manifest).read_text())["images"]


STARTUP = """
import sys
from lab_ddpm.cli import commands, main
heavy = {"torch", "diffusers", "transformers", "mitsuba", "gradio", "matplotlib", "scipy"}
main(["--help"])
for command in commands():
    for option, expected in (("--help", 0), ("--nonsense", 2)):
        try:
            code = main([command, option])
        except SystemExit as stop:
            code = stop.code
        assert code == expected, (command, option, code)
        assert not heavy & set(sys.modules), (command, option, heavy & set(sys.modules))
"""


def test_help_and_a_mistyped_option_import_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STARTUP], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors = done.stderr.splitlines()
    assert len(errors) == len(commands())
    assert all(error.startswith("lab-ddpm: ") for error in errors)
    assert all(f"usage: lab-ddpm {command} " in done.stdout for command in commands())


def test_the_help_shows_every_command_once_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(commands())
    assert main(["--help"]) == main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, script in commands().items():
        first = script.read_text(encoding="utf-8").removeprefix('"""').splitlines()[0].removesuffix('"""')
        assert lines.count(f"  {name:<20}{first}") == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lab_ddpm {version('lab_ddpm')}\n"


def test_a_script_runs_by_itself(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "generate.py"), "--stepz", "5"]
    failed = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("lab-ddpm: did you mean '--steps'?")


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab_ddpm.tools.extras.find_spec", lambda _: None)  # as if nothing were installed
    with pytest.raises(UserError, match=rf"pip install 'lab_ddpm\[{EXTRAS[module]}\]'"):
        require_extra(module)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = module.replace("_", "-")
    assert any(entry.startswith(package) for entry in project["optional-dependencies"][EXTRAS[module]])
    assert not any(entry.startswith(package) for entry in project["dependencies"])


@pytest.mark.usefixtures("workplace")
def test_generate_writes_one_image_per_condition_a_grid_and_a_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--root", "data", "--split", "new_test", "--steps", "2", "--progress"]) == 0
    assert "runs/tiny/best" in capsys.readouterr().out
    files = [f"{index:02d}.png" for index in range(32)]
    assert names("generated/new_test") == sorted([*files, *FIGURES, "strip.png", "denoising.gif"])
    images = images_of("generated/new_test/manifest.json")
    assert [entry["file"] for entry in images] == files
    assert [entry["condition"] for entry in images] == json.loads(Path("data/new_test.json").read_text())
    assert {entry["checkpoint_hash"] for entry in images} == {checkpoint_hash("runs/tiny/best")}
    assert len({entry["seed"] for entry in images}) == 32
    with Image.open("generated/new_test/grid.png") as grid:
        assert grid.size == (8 * 18 + 2, 4 * 18 + 2)


@pytest.mark.usefixtures("workplace")
def test_no_file_of_an_earlier_call_is_left() -> None:
    arguments = ["generate", "--objects", "red cube", "--steps", "1", "--out", "out"]
    assert main([*arguments, "--num-images", "3", "--progress"]) == 0
    assert main([*arguments, "--num-images", "2"]) == 0
    assert names("out") == ["00.png", "01.png", *FIGURES]
    assert (pixels("out/00.png") != pixels("out/01.png")).any()


@pytest.mark.usefixtures("workplace")
def test_a_list_of_ones_own_and_the_seed_decide_the_images(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.json").write_text('[["red cube", "blue sphere"], ["gray cylinder"]]')
    for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["generate", "--split", "own.json", "--steps", "2", "--seed", seed, "--out", out]) == 0
    a, b, c = (pixels(f"{out}/01.png") for out in "abc")
    assert (a == b).all()
    assert (a != c).any()
    capsys.readouterr()
    four = ["red cube", "cyan sphere", "gray cube", "blue sphere"]
    assert main(["generate", "--objects", *four, "--steps", "1"]) == 0
    assert "more than 3 objects" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("labels", [("cat", "dog"), ()], ids=["labels", "no labels"])
def test_a_list_of_iclevr_is_refused_by_a_model_of_other_images(
    labels: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("runs/tiny")
    save_tiny_pipeline("runs/pets/best", 3, labels)
    assert main(["generate", "--root", "data", "--split", "test", "--steps", "1"]) == 2
    assert "runs/pets/best" in capsys.readouterr().err
    Path("own.json").write_text('[["cat"], ["dog"]]')
    assert main(["generate", "--split", "own.json", "--steps", "1"]) == (0 if labels else 2)


@pytest.mark.usefixtures("workplace")
def test_generate_composes_conditions() -> None:
    calls = {"plain": [], "and": ["--and", "cyan sphere"], "not": ["--not", "gray cube", "gray sphere"]}
    for name, more in calls.items():
        arguments = ["--objects", "red cube", *more, "--num-images", "2", "--steps", "2", "--guidance-scale", "3"]
        assert main(["generate", *arguments, "--out", name]) == 0
    manifests = {name: json.loads(Path(name, "manifest.json").read_text()) for name in calls}
    assert [image["condition"] for image in manifests["and"]["images"]] == [["red cube", "cyan sphere"]] * 2
    assert manifests["and"]["and"] == [["red cube"], ["cyan sphere"]]
    assert manifests["not"]["not"] == [["gray cube"], ["gray sphere"]]
    for name in ("and", "not"):
        assert abs(pixels("plain/00.png") - pixels(f"{name}/00.png")).mean() > 1
    assert main(["generate", "--unconditional", "--not", "red cube", "--num-images", "1", "--steps", "2"]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_two_processes_make_the_images_of_one() -> None:
    """Three images for two processes, then one, of which the second process has none."""
    for count in ("3", "1"):
        arguments = ["--objects", "red cube", "--num-images", count, "--steps", "2"]
        assert main(["generate", *arguments, "--out", f"one-{count}"]) == 0
        script = [str(ROOT / "scripts" / "generate.py"), *arguments, "--out", f"two-{count}"]
        subprocess.run([*LAUNCH_TWO, *script], check=True, capture_output=True)
        for index in range(int(count)):
            difference = pixels(f"one-{count}/{index:02d}.png") - pixels(f"two-{count}/{index:02d}.png")
            assert abs(difference).max() <= 1


@pytest.mark.usefixtures("workplace")
def test_evaluate_scores_the_images_of_both_lists() -> None:
    assert main(["evaluate", "--root", "data", "--num-seeds", "2", "--steps", "1"]) == 0
    metrics = json.loads(Path("evaluation/metrics.json").read_text())
    assert metrics["seeds"] == [0, 1]
    assert metrics["checkpoint"] == "runs/tiny/best"
    for name in CLASSIFIERS:
        file = Path(f"evaluator/{name}.safetensors")
        assert metrics["classifiers"][name] == {"file": file.name, "sha256": sha256(file)}
    assert metrics["classifiers"]["counter"]["sha256"] == sha256(find_shipped(COUNTER_FILE))
    assert set(metrics["splits"]) == set(metrics["counted"]) == {"test", "new_test"}
    for counted in metrics["counted"].values():
        assert 0 <= counted["right"]["mean"] <= 1 - counted["too_many"]["mean"]
    for by_classifier in metrics["splits"].values():
        assert set(by_classifier) == set(CLASSIFIERS)
        for scores in by_classifier.values():
            low, high = scores["micro"]["ci95"]
            assert 0 <= low <= scores["micro"]["mean"] <= high <= 1
            assert {"exact_match", "by_object_count", "by_object"} <= set(scores)


@pytest.mark.usefixtures("workplace")
def test_images_in_a_folder_get_the_scores_of_sampled_ones(capsys: pytest.CaptureFixture[str]) -> None:
    sampling = ["--root", "data", "--split", "test", "--steps", "2"]
    of_folder = ["evaluate", "--root", "data", "--images", "made", "--split"]
    assert main(["generate", *sampling, "--out", "made"]) == 0
    assert main(["evaluate", *sampling, "--num-seeds", "1", "--out", "sampled"]) == 0
    assert main([*of_folder, "test", "--out", "scored"]) == 0
    sampled, scored = (json.loads(Path(out, "metrics.json").read_text())["splits"] for out in ("sampled", "scored"))
    assert sampled == scored
    assert main([*of_folder, "new_test", "--out", "other"]) == 2  # the manifest says that they are of test
    assert "made/manifest.json" in capsys.readouterr().err


def test_render_writes_a_data_set_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("resnet18",))
    render = ["render", "--num-scenes", "2", "--workers", "2", "--out", "data"]
    assert main([*render, "--part", "1/3"]) == main([*render, "--part", "3/2"]) == 2
    assert main([*render, "--part", "2/2"]) == 0
    assert len(list(Path("data/images").iterdir())) == 3
    assert main(render) == 0
    images = sorted(Path("data/images").glob("*.png"))
    assert len(images) == 6
    assert main(["train", *tiny_arguments(tmp_path, data__num_scenes=2)]) == 0
    assert sorted(Path("data/images").glob("*.png")) == images
    assert (tmp_path / "runs" / "tiny" / "best" / "model_index.json").is_file()


@pytest.mark.usefixtures("workplace")
def test_the_shipped_pipeline_is_the_default_where_there_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pretrained").mkdir()
    Path("runs/tiny/best").rename("pretrained/iclevr-cpu")
    assert main(["generate", "--objects", "red cube", "--steps", "1"]) == 0
    assert "pretrained/iclevr-cpu" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_objects_are_placed_and_an_image_is_edited() -> None:
    denoiser = tiny_denoiser(
        labels=OBJECTS, patch_size=2, prediction_type="sample", layout_scale=2.0, layout_dropout=0.1, places_dropout=0.1
    )
    LabelConditionalPipeline(denoiser, "ddim").save_pretrained("runs/tiny/best")
    assert main(["generate", "--place", "red cube@4,5", "cyan sphere@12,9", "--num-images", "2", "--steps", "2"]) == 0
    entries = images_of("generated/placed/manifest.json")
    assert [entry["condition"] for entry in entries] == [["red cube", "cyan sphere"]] * 2
    edit_and_compare("red cube, cyan sphere", "green sphere@1,1", (16, 16, 3))


@pytest.mark.usefixtures("workplace")
def test_an_object_is_moved(capsys: pytest.CaptureFixture[str]) -> None:
    objects, shipped = ["red cube", "blue cylinder"], ["--checkpoint", "pretrained/iclevr-cpu"]
    assert main(["generate", "--place", "red cube@16,24", "blue cylinder@46,34", "--num-images", "1", *shipped]) == 0
    image = "generated/placed/00.png"
    edit = ["edit", image, "--objects", *objects, *shipped, "--move"]
    assert main([*edit, "red cube@20,48"]) == 0
    before, after = pixels(image), pixels("edited/edited.png")
    redness = [picture[..., 0] - picture[..., 1:].max(axis=-1) for picture in (before, after)]
    for area, shown in ((np.s_[18:30, 10:22], (True, False)), (np.s_[42:54, 14:26], (False, True))):
        assert tuple(bool(red[area].max() > 40) for red in redness) == shown
    assert (before[:, 40:] == after[:, 40:]).all()
    assert main([*edit, "red cube@46,34"]) == main([*edit, "green cube@20,48"]) == 2
    assert "blue cylinder" in capsys.readouterr().err


def test_images_need_not_be_square(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    layout = {
        "model__layout_scale": 2.0,
        "model__patch_size": 2,
        "model__prediction_type": "sample",
        "model__layout_dropout": 0.1,
        "model__places_dropout": 0.1,
    }
    assert main(["train", *tiny_arguments(tmp_path, data__image_size=(12, 16), **layout)]) == 0
    assert main(["generate", "--place", "red cube@12,5", "--num-images", "2", "--steps", "2"]) == 0
    edit_and_compare("red cube", "green sphere@3,9", (12, 16, 3))


def edit_and_compare(objects: str, place: str, shape: tuple[int, ...]) -> None:
    """Add an object on the left of `generated/placed/00.png`: something changes, and the right quarter does not."""
    image = "generated/placed/00.png"
    assert main(["edit", image, "--objects", objects, "--steps", "2", "--add", place]) == 0
    assert Path("edited/before_after.png").is_file()
    before, after = pixels(image), pixels("edited/edited.png")
    assert before.shape == after.shape == shape
    assert (before != after).any()
    assert (before[:, 12:] == after[:, 12:]).all()

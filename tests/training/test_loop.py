"""A run: what it writes, that it resumes exactly, and that processes and accumulation change nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import LAUNCH_TWO, save_random_classifiers, tiny_arguments, tiny_batch
from lab_ddpm.cli import main
from lab_ddpm.data.batches import Batch
from lab_ddpm.data.conditions import load_conditions
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import image_grid
from lab_ddpm.diffusion.loss import DenoisingLoss
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.generation.generate import generate
from lab_ddpm.training.config import OptimizerConfig
from lab_ddpm.training.metrics_log import read_records
from lab_ddpm.training.optimizer import make_optimizer

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
CURVE = Path(__file__).with_name("loss_curve.json")
STEPS = 12


SETTINGS = {  # 12 steps (4 epochs of 3) with everything switched on
    "epochs": 4,
    "batch_size": 8,
    "model__patch_size": 2,
    "model__layout_scale": 2.0,
    "model__detail_channels": (8, 16),
    "model__prediction_type": "sample",
    "model__condition_dropout": 0.2,
    "model__layout_dropout": 0.2,
    "model__places_dropout": 0.3,
    "optimizer__name": "muon",
    "optimizer__ema_decay": 0.9,
    "sampling__guidance_scale": 1.5,
    "evaluation__every_epochs": 2,
}


@pytest.fixture(scope="module")
def workplace(dataset_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, a random classifier in evaluator/, and a run that nothing interrupted: do not change it."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(dataset_template, folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_random_classifiers(names=("resnet18",))
        assert main(["train", *tiny_arguments(folder, name="never-stopped", **SETTINGS)]) == 0
    return folder


@pytest.fixture
def arguments(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run with these settings in a copy of that folder."""
    shutil.copytree(workplace, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tiny_arguments(tmp_path, **SETTINGS)


@pytest.fixture
def never_stopped(arguments: list[str], tmp_path: Path) -> Path:
    """The folder of the run that nothing interrupted."""
    return tmp_path / "runs" / "never-stopped"


def newest_state(run: Path) -> Path:
    return max((run / "states").glob("step_*"))


def weights(state: Path) -> dict[str, torch.Tensor]:
    """The weights of a state, and their averages in the order of the network's parameters."""
    averages = torch.load(state / "training.pt", weights_only=True)["ema"]["shadow_params"]
    return load_file(state / "denoiser.safetensors") | {f"average {i}": value for i, value in enumerate(averages)}


def run_code(code: str, arguments: list[str]) -> str:
    """Run code in a process of its own; returns what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same_run(run: Path, other: Path) -> None:
    """The weights and their averages, what was logged, and best/ are equal."""
    one, two = weights(newest_state(run)), weights(newest_state(other))
    assert newest_state(run).name == newest_state(other).name
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key
    logged, expected = (
        [(r["step"], r.get("loss"), r.get("validation")) for r in read_records(folder / "metrics.jsonl")]
        for folder in (run, other)
    )
    assert logged == expected
    for link in ("best", "last"):
        assert (run / link).resolve().name == (other / link).resolve().name
    for image in sorted(path.name for path in (other / "samples").glob("*.png")):
        assert (run / "samples" / image).read_bytes() == (other / "samples" / image).read_bytes()
    assert not list(run.rglob(".writing-*"))


def distance(run: Path, other: Path) -> float:
    """Distance of the weights of two runs, relative to their size.

    Not weight by weight: AdamW moves a weight without a gradient (a bias before a normalisation) by rounding noise.
    Outlines are not trained.
    """
    one, two = (
        torch.cat([value.flatten() for key, value in weights(newest_state(folder)).items() if "outlines" not in key])
        for folder in (run, other)
    )
    return ((one - two).norm() / one.norm()).item()


def test_a_run_leaves_what_it_promises(never_stopped: Path) -> None:
    records = read_records(never_stopped / "metrics.jsonl")
    losses = [record for record in records if "loss" in record]
    assert [record["step"] for record in losses] == list(range(1, STEPS + 1))
    assert losses[0]["terms"].keys() == {"image", "layout", "places", "detail"}
    assert losses[0]["loss"] == pytest.approx(sum(losses[0]["terms"].values()))
    scores = {record["step"]: record["validation"]["micro"]["mean"] for record in records if "validation" in record}
    assert list(scores) == [6, 12]
    names = {"denoising.gif", "strip.png", "step_0000006.png", "step_0000012.png"}
    assert {path.name for path in (never_stopped / "samples").iterdir()} == names
    assert (never_stopped / "last").resolve().name == "step_0000012"
    assert (never_stopped / "best").resolve().name == f"step_{max(scores, key=lambda s: (scores[s], s)):07d}"
    # the state of step 10 knows only the pipeline of step 6
    assert {path.name for path in (never_stopped / "pipelines").iterdir()} == {"step_0000006", "step_0000012"}
    assert {path.name for path in (never_stopped / "states").iterdir()} == {"step_0000010", "step_0000012"}


# A process that is killed when `module.name` is called for a path with `place` in it, for each of some such crashes.
KILL = """
import os, signal, sys
import lab_ddpm.tools.files, lab_ddpm.training.loop, lab_ddpm.training.run_folder, lab_ddpm.training.state
from lab_ddpm.cli import main
def train_until(module, name, place):
    original = getattr(module, name)
    def killing(*args, **kwargs):
        if any(place in str(arg) for arg in args if not isinstance(arg, dict)):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(module, name, killing)
    main(["train", *sys.argv[1:]])
def killed(module, name, place):
    child = os.fork()  # which has everything imported, and nothing else
    if child == 0:
        try:
            train_until(module, name, place)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, (name, place)
"""


def test_a_killed_run_resumes_exactly(arguments: list[str], never_stopped: Path, tmp_path: Path) -> None:
    crashes = """
killed(lab_ddpm.training.state.torch, "save", "step_0000004")  # in the middle of writing a state
killed(lab_ddpm.tools.files.os, "replace", "states/step_0000004")  # between writing and renaming it
killed(lab_ddpm.training.state, "remove", "states/step_0000002")  # before an old one is removed
killed(lab_ddpm.tools.files.os, "replace", "pipelines/step_0000006")  # between writing and renaming a pipeline
killed(lab_ddpm.training.state, "write_progress", "states/step_0000006")  # before the state knows of it
killed(lab_ddpm.training.run_folder, "link_atomically", "tiny/best")  # between the links
killed(lab_ddpm.training.run_folder, "remove", "pipelines/step_0000012")  # before what was left is replaced
"""
    run_code(KILL + crashes, arguments)
    assert main(["train", *arguments]) == 0
    assert_same_run(tmp_path / "runs" / "tiny", never_stopped)


# The process sends itself a signal while it logs step 7. The same command resumes. Then comes a run that nothing stops.
STOP_AND_RESUME = """
import lab_ddpm.training.log as log
append = log.append_record
def append_and_stop(path, record):
    append(path, record)
    if record["step"] == 7:
        os.kill(os.getpid(), signal.SIGTERM)
log.append_record = append_and_stop
assert main(["train", *sys.argv[1:]]) == 128 + signal.SIGTERM
log.append_record = append
assert main(["train", *sys.argv[1:]]) == 0
assert main(["train", *sys.argv[1:], "--name", "whole"]) == 0
"""


def test_in_bfloat16_a_killed_and_a_stopped_run_resume_exactly(arguments: list[str], tmp_path: Path) -> None:
    crash = 'killed(lab_ddpm.tools.files.os, "replace", "states/step_0000004")\n'
    workers = ["--data.num_workers", "2"]
    run_code(KILL + crash + STOP_AND_RESUME, [*arguments, "--mixed_precision", "bf16", *workers])
    run = tmp_path / "runs" / "whole"
    assert_same_run(tmp_path / "runs" / "tiny", run)
    pipeline = load_pipeline(run / "last")  # of which the network alone is in bfloat16, as where it is used
    pipeline.denoiser.forward = torch.autocast("cpu", torch.bfloat16)(pipeline.denoiser.forward)
    conditions = load_conditions(tmp_path / "data" / "val.json", OBJECTS)
    images = generate(pipeline, conditions, image_seeds(0, len(conditions))).images
    with Image.open(run / "samples" / f"step_{STEPS:07d}.png") as shown:
        assert np.array_equal(shown, image_grid(images, 8))


def test_a_run_that_is_stopped_in_each_of_its_steps_resumes_exactly(
    arguments: list[str], never_stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, starts = DenoisingLoss.__call__, 0

    def stopped(self: DenoisingLoss, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingLoss, "__call__", stopped)
        while main(["train", *arguments]) == 128 + signal.SIGTERM:
            starts += 1
    assert starts == STEPS
    assert_same_run(tmp_path / "runs" / "tiny", never_stopped)


# The process sends itself a signal in the middle of the second evaluation, which is the last.
STOP_WHILE_SAMPLING = """
import os, signal, sys
import lab_ddpm.training.validation as validation
from lab_ddpm.cli import main
class Recorder(validation.DenoisingRecorder):
    made = 0
    def __init__(self, *settings):
        super().__init__(*settings)
        Recorder.made += 1
    def __call__(self, timestep, samples):
        super().__call__(timestep, samples)
        if Recorder.made == 2:
            print("denoising step", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
validation.DenoisingRecorder = Recorder
assert main(["train", *sys.argv[1:]]) == 128 + signal.SIGINT
"""


def test_a_signal_while_a_run_samples_stops_it_between_two_denoising_steps(
    arguments: list[str], never_stopped: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    assert run_code(STOP_WHILE_SAMPLING, arguments).count("denoising step\n") == 1
    assert newest_state(run).name == f"step_{STEPS:07d}"
    assert not (run / "samples" / f"step_{STEPS:07d}.png").exists()
    assert main(["train", *arguments]) == 0
    assert_same_run(run, never_stopped)
    before = {path: path.stat().st_mtime_ns for path in (run / "pipelines").rglob("*")}
    assert main(["train", *arguments]) == 0  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in (run / "pipelines").rglob("*")} == before


def test_two_processes_and_accumulation_train_the_same_model(
    arguments: list[str], never_stopped: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def launch_two(*options: str) -> subprocess.CompletedProcess[str]:
        command = [*LAUNCH_TWO, str(SCRIPT), *arguments, *options]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    assert launch_two().returncode == 0
    assert "batch_size" in launch_two("--name", "odd", "--batch_size", "3").stderr  # so there were two
    assert main(["train", *arguments, "--name", "accumulated", "--gradient_accumulation_steps", "4"]) == 0
    assert main(["train", *arguments, "--name", "other", "--seed", "1"]) == 0
    runs = tmp_path / "runs"
    assert distance(never_stopped, runs / "tiny") < 1e-3
    assert distance(never_stopped, runs / "accumulated") < 1e-3
    assert distance(never_stopped, runs / "other") > 1e-1


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of torch, while it compiles
@pytest.mark.parametrize("setting", ["channels_last", pytest.param("compile", marks=pytest.mark.slow)])
def test_a_setting_for_speed_trains_the_same_model_and_resumes_exactly(
    arguments: list[str], never_stopped: Path, tmp_path: Path, setting: str
) -> None:
    command = ["train", *arguments, f"--{setting}", "true"]
    assert main(command) == 0
    run = tmp_path / "runs" / "tiny"
    before = {name: value.clone() for name, value in weights(newest_state(run)).items()}
    assert before.keys() == weights(newest_state(never_stopped)).keys()
    assert distance(never_stopped, run) < 1e-3
    assert load_pipeline(run / "best").denoiser.labels
    shutil.rmtree(newest_state(run))
    assert main(command) == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(newest_state(run)).items())


def test_the_losses_of_200_steps_are_those_that_were_stored(tiny_dataset: Path, tmp_path: Path) -> None:
    """Other kernels of a CPU sum in another order, which changed them by up to 2e-4 where it was tried."""
    arguments = tiny_arguments(
        tmp_path,
        epochs=34,
        log_every_steps=20,
        save_every_steps=1000,
        model__patch_size=4,
        model__layout_scale=2.0,
        model__block_out_channels=(32,),
        model__attention_levels=(0,),
        model__detail_channels=(8,),
        model__prediction_type="sample",
        model__condition_dropout=0.2,
        model__layout_dropout=0.2,
        model__places_dropout=0.3,
        loss__weight="clamped_snr",
        optimizer__name="muon",
        optimizer__warmup_steps=20,
        evaluation__every_epochs=100,
        evaluation__metric="none",
    )
    assert main(["train", *arguments]) == 0
    found = {str(record["step"]): record["terms"] for record in read_records(tmp_path / "runs/tiny/metrics.jsonl")}
    stored = json.loads(CURVE.read_text(encoding="utf-8"))
    assert len(stored) == 10
    assert found.keys() == {*stored, "204"}  # the last step is in the log too
    for step, terms in stored.items():
        assert found[step] == pytest.approx(terms, rel=0.01, abs=5e-4), step


@pytest.mark.parametrize("shipped", ["iclevr-cpu", "fashion-mnist"])
def test_every_weight_of_a_loaded_shipped_model_learns(shipped: str) -> None:
    denoiser = LabelConditionalPipeline.from_pretrained(f"pretrained/{shipped}").denoiser
    before = {name: parameter.detach().clone() for name, parameter in denoiser.named_parameters()}
    random, space = torch.Generator().manual_seed(0), denoiser.space
    channels, (height, width) = space.in_channels, space.sample_size
    batch = tiny_batch(
        denoiser,
        torch.rand(2, channels, height, width, generator=random) * 2 - 1,
        masks=torch.randint(2, (2, 1, height, width), generator=random, dtype=torch.uint8),
        class_labels=torch.eye(len(denoiser.labels))[:2],
        uniforms=torch.tensor([[0.2, 0.5, 0.5, 0.5, 0.5], [0.8, 0.5, 0.5, 0.5, 0.5]]),
    )
    optimizer = make_optimizer(denoiser, OptimizerConfig(weight_decay=0.0))
    sum(DenoisingLoss()(denoiser, batch).values()).backward()  # pyright: ignore
    optimizer.step()
    assert not [name for name, parameter in denoiser.named_parameters() if torch.equal(parameter, before[name])]


@pytest.mark.parametrize(("logged", "saved"), [(1, 2), (100, 4)])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], logged: int, saved: int
) -> None:
    """It is noticed when a step is logged or saved, and the message names the step where it began."""
    diverging = [*arguments, "--optimizer.learning_rate", "1e30", "--optimizer.warmup_steps", "6"]
    assert main(["train", *diverging, "--log_every_steps", str(logged), "--save_every_steps", str(saved)]) == 1
    assert "step 3" in capsys.readouterr().err.splitlines()[-1]
    states = list((tmp_path / "runs" / "tiny" / "states").glob("step_*"))
    assert [state.name for state in states] == (["step_0000002"] if saved == 2 else [])
    for state in states:
        assert all(value.isfinite().all() for value in weights(state).values())


def test_the_learning_rate_rises_in_a_line_and_falls_to_zero_as_a_cosine(arguments: list[str], tmp_path: Path) -> None:
    peak, warmup = 2e-3, 5
    chosen = ["--optimizer.learning_rate", str(peak), "--optimizer.warmup_steps", str(warmup)]
    assert main(["train", *arguments, *chosen, "--gradient_accumulation_steps", "4"]) == 0
    used = {
        step + 1: peak
        * (step / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))) / 2)
        for step in range(STEPS)
    }
    records = read_records(tmp_path / "runs/tiny/metrics.jsonl")
    found = {record["step"]: record["learning_rate"] for record in records if "loss" in record}
    assert found == pytest.approx(used, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_best_holds_the_averages_of_the_weights(arguments: list[str], tmp_path: Path, decay: float) -> None:
    options = ["--save_every_steps", "6", "--optimizer.ema_decay", str(decay)]  # so that both evaluated states are kept
    assert main(["train", *arguments, *options]) == 0
    run = tmp_path / "runs" / "tiny"
    state = run / "states" / (run / "best").resolve().name
    own, kept = load_file(state / "denoiser.safetensors"), load_pipeline(run / "best").denoiser
    averages = weights(state) if decay else {}
    for index, (key, value) in enumerate(kept.named_parameters()):
        assert torch.equal(value, averages[f"average {index}"] if decay else own[key]), key
        assert torch.equal(value, own[key]) == (not decay), key


def test_a_run_does_not_resume_with_other_images(never_stopped: Path, arguments: list[str], tmp_path: Path) -> None:
    first, *_, last = sorted((tmp_path / "data" / "images").iterdir())
    shutil.copy(last, first)
    before = {path: path.stat().st_mtime_ns for path in (never_stopped / "states").rglob("*")}
    assert main(["train", *arguments, "--name", "never-stopped"]) == 2
    assert {path: path.stat().st_mtime_ns for path in (never_stopped / "states").rglob("*")} == before


@pytest.mark.parametrize("broken", ["training.pt", "denoiser.safetensors", "progress.json"])
def test_a_broken_state_is_named_and_the_one_before_it_is_still_there(
    never_stopped: Path, arguments: list[str], broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = newest_state(never_stopped)
    before = {key: value.clone() for key, value in weights(state).items()}  # they are mapped from the file
    (state / broken).write_bytes((state / broken).read_bytes()[:-3])
    capsys.readouterr()
    command = ["train", *arguments, "--name", "never-stopped"]
    assert main(command) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab-ddpm: ")]
    assert str(state) in line
    shutil.rmtree(state)
    assert main(command) == 0
    assert all(torch.equal(value, before[key]) for key, value in weights(state).items())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["--evaluation.split", "tset"], "split"),
        (["--optimizer.learning_rat", "1"], "optimizer.learning_rat"),
        (["--batch_size", "22"], "batch_size"),
        (["--model.attention_levels", "[3]"], "model.attention_levels"),
        pytest.param(
            ["--device", "cuda"],
            "device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)
def test_bad_settings_are_refused_before_a_step(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], key: str
) -> None:
    assert main(["train", *arguments, *changes]) == 2
    assert f"`{key}`" in (error := capsys.readouterr().err) or key in error
    assert not (tmp_path / "runs" / "tiny" / "metrics.jsonl").exists()

"""A run: what it writes, that it goes on exactly, and that processes and accumulation change nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import LAUNCH_TWO, save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.data.batches import Sample
from lab_ddpm.data.images import write_png
from lab_ddpm.diffusion.denoiser import Denoiser, Loss
from lab_ddpm.generation.checkpoint import load_pipeline
from lab_ddpm.tools.metrics_log import read_records
from lab_ddpm.training.progress import step_name

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
STEPS = 12


@pytest.fixture
def arguments(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of 12 steps (4 epochs of 3) with everything switched on, in a folder with a random classifier."""
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()
    return tiny_arguments(
        tmp_path,
        epochs=4,
        batch_size=8,
        data__count_weights=(1, 1, 2),
        model__patch_size=2,
        model__layout_scale=2.0,
        model__detail_channels=(8, 16),
        diffusion__prediction_type="sample",
        objective__condition_dropout=0.2,
        objective__layout_dropout=0.2,
        optimizer__name="muon",
        optimizer__ema_decay=0.9,
        evaluation__every_epochs=2,
        evaluation__guidance_scale=1.5,
    )


def newest_state(run: Path) -> Path:
    return max((run / "states").glob("step_*"))


def weights(state: Path) -> dict[str, torch.Tensor]:
    """The weights of a state, and their averages in the order of the network's parameters."""
    averages = torch.load(state / "training.pt", weights_only=True)["ema"]["shadow_params"]
    return load_file(state / "denoiser.safetensors") | {f"average {i}": value for i, value in enumerate(averages)}


def train_in_subprocess(arguments: list[str], before: str = "", **options: object) -> subprocess.Popen:
    """Train in a process of its own, after running the code `before` in it."""
    code = f"{before}\nimport sys\nfrom lab_ddpm.cli import main\nsys.exit(main(['train', *sys.argv[1:]]))"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)  # pyright: ignore


def run_code(code: str, arguments: list[str]) -> str:
    """Run code in a process of its own; returns what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_equal_weights(run: Path, other: Path) -> None:
    one, two = weights(newest_state(run)), weights(newest_state(other))
    assert newest_state(run).name == newest_state(other).name
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key


def distance(run: Path, other: Path) -> float:
    """Distance of two runs' weights, relative to their size.

    Not weight by weight: AdamW moves a weight without a gradient (a bias before a normalisation) by rounding noise.
    """
    one, two = (
        torch.cat([value.flatten() for value in weights(newest_state(folder)).values()]) for folder in (run, other)
    )
    return ((one - two).norm() / one.norm()).item()


@pytest.fixture
def never_stopped(arguments: list[str], tmp_path: Path) -> Path:
    """The folder of a run that nothing interrupts."""
    assert main(["train", *arguments, "--name", "never-stopped"]) == 0
    return tmp_path / "runs" / "never-stopped"


def test_a_run_leaves_what_it_promises(never_stopped: Path) -> None:
    records = read_records(never_stopped / "metrics.jsonl")
    assert [r["step"] for r in records if "loss" in r] == list(range(1, STEPS + 1))
    assert [r["step"] for r in records if "validation" in r] == [6, 12]
    assert (never_stopped / "config.yaml").is_file()
    assert sorted(path.name for path in (never_stopped / "samples").iterdir()) == [
        "denoising.gif",
        "step_0000006.png",
        "step_0000012.png",
        "strip.png",
    ]
    assert (never_stopped / "last").resolve().name == "step_0000012"
    assert (never_stopped / "best" / "model_index.json").is_file()
    assert sorted(path.name for path in (never_stopped / "states").iterdir()) == ["step_0000010", "step_0000012"]


# A process that is killed when `module.name` is called for a path with `place` in it, for each of some such crashes.
KILL = """
import os, signal, sys
import lab_ddpm.tools.files, lab_ddpm.training.progress, lab_ddpm.training.run, lab_ddpm.training.state
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


def test_a_killed_run_goes_on_exactly(arguments: list[str], never_stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    crashes = """
killed(lab_ddpm.training.state.torch, "save", "step_0000004")  # in the middle of writing a state
killed(lab_ddpm.tools.files.os, "replace", "states/step_0000004")  # between writing and renaming it
killed(lab_ddpm.training.state, "remove", "states/step_0000002")  # before an old one is removed
killed(lab_ddpm.tools.files.shutil, "rmtree", "states/.writing")  # when it is about to go
killed(lab_ddpm.tools.files.os, "replace", "pipelines/step_0000006")  # between writing and renaming a pipeline
killed(lab_ddpm.training.state, "write_progress", "states/step_0000006")  # before the state knows of it
killed(lab_ddpm.training.progress, "link_atomically", "tiny/best")  # between the links
killed(lab_ddpm.training.state, "write_progress", "states/step_0000012")
killed(lab_ddpm.training.progress, "remove", "pipelines/step_0000012")  # before what was left is replaced
"""
    run_code(KILL + crashes, arguments)
    assert main(["train", *arguments]) == 0
    assert_equal_weights(run, never_stopped)
    logged, expected = (
        [(r["step"], r.get("loss"), r.get("validation")) for r in read_records(folder / "metrics.jsonl")]
        for folder in (run, never_stopped)
    )
    assert logged == expected
    for link in ("best", "last"):
        assert (run / link).resolve().name == (never_stopped / link).resolve().name
    assert not list(run.rglob(".writing-*"))


# The process sends itself a signal while it logs step 7; the same command goes on, and then a run that nothing stops.
STOP_AND_GO_ON = """
import lab_ddpm.training.run_log as run_log
append = run_log.append_record
def append_and_stop(path, record):
    append(path, record)
    if record["step"] == 7:
        os.kill(os.getpid(), signal.SIGTERM)
run_log.append_record = append_and_stop
assert main(["train", *sys.argv[1:]]) == 128 + signal.SIGTERM
run_log.append_record = append
assert main(["train", *sys.argv[1:]]) == 0
assert main(["train", *sys.argv[1:], "--name", "whole"]) == 0
"""


def test_in_bfloat16_too_a_killed_and_a_stopped_run_go_on_exactly(
    arguments: list[str], never_stopped: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    crash = 'killed(lab_ddpm.tools.files.os, "replace", "states/step_0000004")\n'
    output = run_code(KILL + crash + STOP_AND_GO_ON, [*arguments, "--mixed_precision", "bf16"])
    assert f"going on from step 2 of {STEPS}" in output
    assert f"going on from step 7 of {STEPS}" in output
    assert_equal_weights(runs / "tiny", runs / "whole")
    stopped, whole = (runs / name / "samples" / f"{step_name(STEPS)}.png" for name in ("tiny", "whole"))
    assert stopped.read_bytes() == whole.read_bytes()
    assert 1e-6 < distance(runs / "whole", never_stopped) < 0.5  # rounded, and so not the weights of float32


def test_a_run_does_not_go_on_with_other_images(
    never_stopped: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_, last = sorted((tmp_path / "data" / "images").iterdir())
    shutil.copy(last, first)
    before = weights(newest_state(never_stopped))
    assert main(["train", *arguments, "--name", "never-stopped"]) == 2
    assert "was trained on other images or labels" in capsys.readouterr().err
    assert all(torch.equal(value, before[key]) for key, value in weights(newest_state(never_stopped)).items())


def test_a_run_with_fewer_labels_than_before_is_told_so_before_its_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"data__dataset": "folder", "data__root": "pets", "evaluation__metric": "none"}
    for name in ("bird", "cat", "dog"):
        for index in range(4):
            write_png(Path("pets", name, f"{index}.png"), np.full((16, 16, 3), index, dtype=np.uint8))
    assert main(["train", *tiny_arguments(tmp_path, **settings)]) == 0
    shutil.rmtree("pets/bird")
    assert main(["train", *tiny_arguments(tmp_path, **settings)]) == 2
    assert "was trained on other images or labels" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["training.pt", "denoiser.safetensors"])
@pytest.mark.parametrize("size", [0, 5, 1000])
def test_a_state_that_is_cut_short_is_one_line(
    never_stopped: Path, arguments: list[str], name: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = newest_state(never_stopped) / name
    file.write_bytes(file.read_bytes()[:size])
    capsys.readouterr()
    assert main(["train", *arguments, "--name", "never-stopped"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line


def test_a_state_of_another_kind_is_one_line_and_the_one_before_is_still_there(
    never_stopped: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    state, before = newest_state(never_stopped), weights(newest_state(never_stopped))
    torch.save({"optimizer": {}}, state / "training.pt")
    capsys.readouterr()
    command = ["train", *arguments, "--name", "never-stopped"]
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{state}: this state cannot be resumed from" in line
    assert "remove the folder to go on from the one before" in line
    shutil.rmtree(state)
    assert main(command) == 0
    assert f"going on from step 10 of {STEPS}" in capsys.readouterr().out
    assert all(torch.equal(value, before[key]) for key, value in weights(state).items())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on(
    arguments: list[str], never_stopped: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "runs" / "tiny"
    process = train_in_subprocess(
        [*arguments, "--data.num_workers", "2"], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").is_file() or not read_records(run / "metrics.jsonl"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal and a batch system do: to the processes that prepare batches too
    _, output = process.communicate()
    assert process.returncode == 128 + number
    assert f"{number.name}: stopping at the next step" in output
    assert f"stopped by {number.name} after step" in output
    assert main(["train", *arguments]) == 0
    assert_equal_weights(run, never_stopped)


def test_a_run_that_is_stopped_in_each_of_its_steps_goes_on_exactly(
    arguments: list[str], never_stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, starts = Denoiser.loss, 0

    def stopped(self: Denoiser, batch: Sample) -> Loss:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Denoiser, "loss", stopped)
        while main(["train", *arguments]) == 128 + signal.SIGTERM:
            starts += 1
    assert starts == STEPS
    assert main(["train", *arguments]) == 0
    assert_equal_weights(tmp_path / "runs" / "tiny", never_stopped)


# The process sends itself a signal in the middle of the second evaluation, which is the last.
STOP_WHILE_SAMPLING = """
import os, signal
import lab_ddpm.training.validation as validation
class Recorder(validation.DenoisingRecorder):
    made = calls = 0
    def __init__(self, **settings):
        super().__init__(**settings)
        Recorder.made += 1
    def __call__(self, timestep, images):
        super().__call__(timestep, images)
        if Recorder.made == 2:
            Recorder.calls += 1
            print("denoising step", Recorder.calls, flush=True)
            os.kill(os.getpid(), signal.SIGINT)
validation.DenoisingRecorder = Recorder
"""


def test_a_signal_while_a_run_samples_is_answered_between_two_denoising_steps(
    arguments: list[str], never_stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "tiny"
    process = train_in_subprocess(arguments, STOP_WHILE_SAMPLING, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert [line for line in output.splitlines() if line.startswith("denoising")] == ["denoising step 1"]
    assert f"stopped by SIGINT after step {STEPS}" in errors
    assert newest_state(run).name == step_name(STEPS)
    assert not (run / "samples" / f"step_{STEPS:07d}.png").exists()
    assert main(["train", *arguments]) == 0
    assert_equal_weights(run, never_stopped)
    for name in ("samples/step_0000012.png", "best/denoiser/config.json"):
        assert (run / name).read_bytes() == (never_stopped / name).read_bytes()
    assert [r["step"] for r in read_records(run / "metrics.jsonl") if "validation" in r] == [6, 12]
    capsys.readouterr()
    assert main(["train", *arguments]) == 0
    assert f"is finished: all {STEPS} steps were done before" in capsys.readouterr().out


def test_two_processes_and_accumulation_train_the_same_model(
    arguments: list[str], never_stopped: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*LAUNCH_TWO, str(SCRIPT), *arguments], env=environment, check=True, capture_output=True)
    odd = [*arguments, "--name", "odd", "--batch_size", "3"]
    done = subprocess.run(
        [*LAUNCH_TWO, str(SCRIPT), *odd], env=environment, check=False, capture_output=True, text=True
    )
    assert "`batch_size` / `gradient_accumulation_steps` must be" in done.stderr  # so there were two
    accumulated, other_seed = ["--name", "accumulated", "--gradient_accumulation_steps", "4"], ["--seed", "1"]
    assert main(["train", *arguments, *accumulated]) == 0
    assert main(["train", *arguments, "--name", "other", *other_seed]) == 0
    runs = tmp_path / "runs"
    assert distance(never_stopped, runs / "tiny") < 1e-3
    assert distance(never_stopped, runs / "accumulated") < 1e-3
    assert distance(never_stopped, runs / "other") > 1e-1


@pytest.mark.parametrize(("logged", "saved"), [(1, 2), (5, 100), (100, 4)])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], logged: int, saved: int
) -> None:
    """It is noticed where a step is logged or saved, and the message names the step where it began."""
    diverging = [*arguments, "--optimizer.learning_rate", "1e30", "--optimizer.warmup_steps", "6"]
    assert main(["train", *diverging, "--log_every_steps", str(logged), "--save_every_steps", str(saved)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the loss or its gradient is infinite or not a number at step 3: stopped" in error
    states = list((tmp_path / "runs" / "tiny" / "states").glob("step_*"))
    assert [state.name for state in states] == ([step_name(2)] if saved == 2 else [])
    for state in states:
        assert all(value.isfinite().all() for value in weights(state).values())
    assert not list((tmp_path / "runs" / "tiny" / "pipelines").glob("step_*"))


@pytest.mark.parametrize("parts", [1, 4])
def test_the_learning_rate_warms_up_in_a_line_and_falls_as_a_cosine_to_zero(
    arguments: list[str], tmp_path: Path, parts: int
) -> None:
    peak, warmup = 2e-3, 5
    chosen = ["--optimizer.learning_rate", str(peak), "--optimizer.warmup_steps", str(warmup)]
    assert main(["train", *arguments, *chosen, "--gradient_accumulation_steps", str(parts)]) == 0
    records = [r for r in read_records(tmp_path / "runs/tiny/metrics.jsonl") if "loss" in r]
    expected = {  # after the step, for the next one
        step: peak
        * (step / warmup if step < warmup else (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))) / 2)
        for step in range(STEPS + 1)
    }
    used = {step: expected[step - 1] for step in range(1, STEPS + 1)}
    assert {r["step"]: r["learning_rate"] for r in records} == pytest.approx(used, rel=1e-9, abs=1e-15)
    for step in (10, 12):
        rest = torch.load(tmp_path / f"runs/tiny/states/{step_name(step)}/training.pt", weights_only=True)
        assert rest["optimizer"]["param_groups"][0]["lr"] == pytest.approx(expected[step], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("warmup", "is_told"), [(2, False), (3, True)])
def test_a_run_whose_warmup_never_ends_says_so(
    arguments: list[str], warmup: int, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--epochs", "1", "--optimizer.warmup_steps", str(warmup)]) == 0
    line = "`optimizer.warmup_steps` is 3, and the run has 3 steps: the learning rate never gets to its peak"
    assert (line in capsys.readouterr().out.splitlines()) == is_told


def test_best_holds_the_averages_of_the_weights(arguments: list[str], tmp_path: Path) -> None:
    assert main(["train", *arguments, "--save_every_steps", "6"]) == 0  # so that both evaluated states are kept
    run = tmp_path / "runs" / "tiny"
    pipelines = sorted((run / "pipelines").iterdir())
    assert (run / "best").resolve() in pipelines
    for folder in pipelines:
        state = weights(run / "states" / folder.name)
        for index, (key, kept) in enumerate(load_pipeline(folder).denoiser.named_parameters()):
            assert torch.equal(kept, state[f"average {index}"]), key
            assert not torch.equal(kept, state[key]), key
        assert len(state) == 2 * (index + 1)


def test_without_an_average_best_holds_the_weights_themselves(arguments: list[str], tmp_path: Path) -> None:
    assert main(["train", *arguments, "--save_every_steps", "6", "--optimizer.ema_decay", "0"]) == 0
    run = tmp_path / "runs" / "tiny"
    kept = load_file(run / "best" / "denoiser" / "diffusion_pytorch_model.safetensors")
    state = load_file(run / "states" / (run / "best").resolve().name / "denoiser.safetensors")
    assert kept.keys() == state.keys()
    assert all(torch.equal(kept[key], state[key]) for key in kept)


def test_other_settings_in_the_same_folder_are_refused(
    arguments: list[str], never_stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [*arguments, "--name", "never-stopped", "--optimizer.learning_rate", "5e-4"]
    assert main(["train", *changed]) == 2
    assert "optimizer.learning_rate was 0.001, now 0.0005" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments, "--device", "cuda"]) == 2
    assert "`device`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--evaluation.split", "tset"], "`split` must be one of ['test'"),
        (["--evaluation.scheduler", "ddmi"], "evaluation.scheduler"),
        (["--optimizer.learning_rat", "1"], "optimizer.learning_rat"),
        (["--batch_size", "0"], "`batch_size` must be at least 1, got 0"),
        (["--batch_size", "22"], "`batch_size` must be at most 21, the number of images in "),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    assert main(["train", *arguments, *changes]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/metrics.jsonl"))


def test_best_is_the_best_and_what_the_states_know_of_stays(never_stopped: Path) -> None:
    progress = json.loads((newest_state(never_stopped) / "progress.json").read_text())
    scores = {int(step): score for step, score in progress["scores"].items()}
    best = max(scores, key=lambda step: (scores[step], step))
    assert (never_stopped / "best").resolve().name == f"step_{best:07d}"
    kept = {path.name for path in (never_stopped / "pipelines").glob("step_*")}
    assert kept == {"step_0000006", "step_0000012"}  # the first is the best that the state of step 10 knows of

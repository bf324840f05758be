"""The training loop: what it writes, that it goes on exactly, and that processes and accumulation change nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.judging.classifiers import build_classifier, save_classifier
from lab_ddpm.tools.metrics_log import read_records

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
STEPS = 12


@pytest.fixture
def arguments(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of 12 steps (4 epochs of 3) with everything switched on, in a folder with a random classifier."""
    monkeypatch.chdir(tmp_path)
    save_classifier(build_classifier("resnet18"), "resnet18", "evaluator")
    return tiny_arguments(
        tmp_path,
        epochs=4,
        batch_size=8,
        model__patch_size=2,
        objective__condition_dropout=0.2,
        optimizer__ema_decay=0.9,
        evaluation__every_epochs=2,
        evaluation__guidance_scale=1.5,
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Trained and averaged weights of the newest checkpoint."""
    folder = max((run / "checkpoints").glob("step_*"))
    averages = {f"ema.{key}": value for key, value in load_file(folder / "ema.safetensors").items()}
    return load_file(folder / "unet.safetensors") | averages


def train_in_subprocess(arguments: list[str], before: str = "", **options: object) -> subprocess.Popen:
    """Train in a process of its own, after running the code `before` in it."""
    code = f"{before}\nimport sys\nfrom lab_ddpm.cli import main\nsys.exit(main(['train', *sys.argv[1:]]))"
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **options)  # pyright: ignore


def assert_equal_weights(run: Path, other: Path) -> None:
    one, two = weights(run), weights(other)
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key


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
    assert len(list((never_stopped / "checkpoints").glob("step_*"))) == 2


# Where the process kills itself: in the middle of writing a checkpoint, between writing and renaming it, between
# renaming it and removing an old one, and in the middle of writing a pipeline.
KILL = """
import os, signal
import lab_ddpm.sampling.checkpoint, lab_ddpm.tools.files, lab_ddpm.training.state
def kill_at(module, name, call):
    original, calls = getattr(module, name), []
    def killing(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(module, name, killing)
"""


def test_a_killed_run_goes_on_exactly(arguments: list[str], never_stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny"
    crashes = [
        "kill_at(lab_ddpm.training.state.torch, 'save', 2)",
        "kill_at(lab_ddpm.tools.files.os, 'replace', 5)",
        "kill_at(lab_ddpm.training.state, 'remove', 1)",
        "kill_at(lab_ddpm.sampling.checkpoint, 'link_atomically', 2)",
        "kill_at(lab_ddpm.sampling.checkpoint, 'remove', 1)",
    ]
    for crash in crashes:
        process = train_in_subprocess(arguments, KILL + crash, stderr=subprocess.DEVNULL)
        assert process.wait() == -signal.SIGKILL, crash
    assert main(["train", *arguments]) == 0
    assert_equal_weights(run, never_stopped)
    logged, expected = (
        [(r["step"], r.get("loss")) for r in read_records(folder / "metrics.jsonl")] for folder in (run, never_stopped)
    )
    assert logged == expected
    assert not list(run.rglob(".writing-*"))


def test_a_run_does_not_go_on_with_other_pictures(
    never_stopped: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = json.loads((tmp_path / "data" / "train.json").read_text())
    first, second = sorted(labels)[:2]
    labels[first], labels[second] = labels[second], labels[first]
    (tmp_path / "data" / "train.json").write_text(json.dumps(labels))
    before = weights(never_stopped)
    assert main(["train", *arguments, "--name", "never-stopped"]) == 2
    assert "was trained on other pictures or labels" in capsys.readouterr().err
    assert all(torch.equal(value, before[key]) for key, value in weights(never_stopped).items())


@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_a_broken_checkpoint_is_one_line(
    never_stopped: Path, arguments: list[str], content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (max((never_stopped / "checkpoints").glob("step_*")) / "optimizer.pt").write_bytes(content)
    assert main(["train", *arguments, "--name", "never-stopped"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "optimizer.pt" in line


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
    assert max(path.name for path in (run / "checkpoints").iterdir()) == f"step_{STEPS:07d}"
    assert not (run / "samples" / f"step_{STEPS:07d}.png").exists()
    assert main(["train", *arguments]) == 0
    assert_equal_weights(run, never_stopped)
    for name in ("samples/step_0000012.png", "best/unet/config.json"):
        assert (run / name).read_bytes() == (never_stopped / name).read_bytes()
    assert [r["step"] for r in read_records(run / "metrics.jsonl") if "validation" in r] == [6, 12]
    capsys.readouterr()
    assert main(["train", *arguments]) == 0
    assert f"is finished: all {STEPS} steps were done before" in capsys.readouterr().out


def distance(run: Path, other: Path) -> float:
    """Distance of two runs' weights, relative to their size.

    Not weight by weight: AdamW moves a weight without a gradient (a bias before a normalisation) by rounding noise.
    """
    one, two = (torch.cat([value.flatten() for value in weights(folder).values()]) for folder in (run, other))
    return ((one - two).norm() / one.norm()).item()


def test_two_processes_and_accumulation_train_the_same_model(
    arguments: list[str], never_stopped: Path, tmp_path: Path
) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, str(SCRIPT), *arguments], env=environment, check=True, capture_output=True)
    accumulated, other_seed = ["--name", "accumulated", "--gradient_accumulation_steps", "4"], ["--seed", "1"]
    assert main(["train", *arguments, *accumulated]) == 0
    assert main(["train", *arguments, "--name", "other", *other_seed]) == 0
    runs = tmp_path / "runs"
    assert distance(never_stopped, runs / "tiny") < 1e-3
    assert distance(never_stopped, runs / "accumulated") < 1e-3
    assert distance(never_stopped, runs / "other") > 1e-1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diverging = [*arguments, "--optimizer.learning_rate", "1e30", "--optimizer.warmup_steps", "6"]
    assert main(["train", *diverging]) == 1
    error = capsys.readouterr().err
    assert "at step" in error
    assert "is nan" in error or "is inf" in error
    for folder in (tmp_path / "runs" / "tiny" / "checkpoints").glob("step_*"):
        assert all(value.isfinite().all() for value in load_file(folder / "unet.safetensors").values())


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
    ],
)
def test_bad_settings_are_refused_before_anything_runs(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], message: str
) -> None:
    assert main(["train", *arguments, *changes]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/metrics.jsonl"))


def test_a_broken_checkpoint_is_named(
    arguments: list[str], never_stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = max((never_stopped / "checkpoints").glob("step_*"))
    (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:100])
    assert main(["train", *arguments, "--name", "never-stopped"]) == 1
    assert str(newest) in capsys.readouterr().err


def test_best_is_the_best_and_the_others_are_removed(never_stopped: Path) -> None:
    progress = json.loads((max((never_stopped / "checkpoints").glob("step_*")) / "progress.json").read_text())
    scores = {int(step): score for step, score in progress["scores"].items()}
    best = max(scores, key=lambda step: (scores[step], step))
    assert (never_stopped / "best").resolve().name == f"step_{best:07d}"
    kept = {path.name for path in (never_stopped / "pipelines").glob("step_*")}
    assert kept == {f"step_{best:07d}", "step_0000012"}

"""What TensorBoard is told, read back from its files."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.tools.metrics_log import read_records


@pytest.fixture(autouse=True)
def workplace(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers()


def test_tensorboard_has_what_metrics_jsonl_has_and_the_grids(tmp_path: Path) -> None:
    assert main(["train", *tiny_arguments(tmp_path, trackers="tensorboard")]) == 0
    records = read_records(tmp_path / "runs" / "tiny" / "metrics.jsonl")
    told = EventAccumulator(str(tmp_path / "runs" / "tiny" / "lab_ddpm")).Reload()
    losses = {record["step"]: record for record in records if "loss" in record}
    for name, path in {
        "loss": ("loss",),
        "terms/image": ("terms", "image"),
        "learning_rate": ("learning_rate",),
        "images_per_second": ("images_per_second",),
    }.items():
        found = {event.step: event.value for event in told.Scalars(name)}
        assert found.keys() == losses.keys()
        for step, value in found.items():
            expected = losses[step]
            for key in path:
                expected = expected[key]
            assert value == pytest.approx(expected, rel=1e-5), name
    scores = {record["step"]: record["validation"]["micro"] for record in records if "validation" in record}
    for name, of in (("mean", lambda s: s["mean"]), ("low", lambda s: s["ci95"][0]), ("high", lambda s: s["ci95"][1])):
        found = {event.step: event.value for event in told.Scalars(f"validation/micro/{name}")}
        assert found == {step: pytest.approx(of(score), abs=1e-6) for step, score in scores.items()}
    assert [event.step for event in told.Images("samples")] == list(scores)


def test_a_tracker_that_is_not_installed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec("wandb") is not None:
        pytest.skip("it is installed here")
    assert main(["train", *tiny_arguments(tmp_path, trackers="wandb")]) == 2
    assert capsys.readouterr().err == "lab-ddpm: `trackers` 'wandb' is not installed: pip install wandb\n"

"""What TensorBoard is told, read back from its files."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import save_random_classifiers, tiny_arguments
from lab_ddpm.cli import main
from lab_ddpm.training.metrics_log import read_records


def test_tensorboard_has_what_metrics_jsonl_has_and_the_grids(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_random_classifiers(names=("resnet18",))
    assert main(["train", *tiny_arguments(tmp_path, trackers="tensorboard")]) == 0
    records = read_records(tmp_path / "runs" / "tiny" / "metrics.jsonl")
    told = EventAccumulator(str(tmp_path / "runs" / "tiny" / "lab_ddpm")).Reload()
    losses = {record["step"]: record for record in records if "loss" in record}
    for name in ("loss", "terms/image", "learning_rate"):
        expected = {step: record["terms"]["image"] if "/" in name else record[name] for step, record in losses.items()}
        found = {event.step: event.value for event in told.Scalars(name)}
        assert found == pytest.approx(expected, rel=1e-5), name
    ((step, score),) = [(r["step"], r["validation"]["micro"]) for r in records if "validation" in r]
    for name, value in zip(("mean", "low", "high"), (score["mean"], *score["ci95"]), strict=True):
        (event,) = told.Scalars(f"validation/micro/{name}")
        assert (event.step, event.value) == (step, pytest.approx(value, abs=1e-6))
    assert [event.step for event in told.Images("samples")] == [step]


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_named(
    tracker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec(tracker) is not None:
        pytest.skip("it is installed here")
    assert main(["train", *tiny_arguments(tmp_path, trackers=tracker)]) == 2
    assert f"pip install {tracker}" in capsys.readouterr().err

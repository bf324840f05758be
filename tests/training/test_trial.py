"""The number of micro-batches of a batch: tried when a run starts, and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import tiny_arguments, tiny_config
from lab_ddpm.training.loop import train

# A process that may take a quarter more memory than a step of the whole batch is counted to need. PyTorch's own
# convolutions need twice as much for a while. oneDNN, which does not, has errors of its own when there is no memory.
LIMITED = """
import psutil, resource, sys, torch
from itertools import islice
from lab_ddpm.data.open_dataset import open_training_images
from lab_ddpm.training.accelerator import make_accelerator
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.cost import training_cost
from lab_ddpm.training.trial import fitting_micro_batches, trial_steps
torch.backends.mkldnn.enabled = False
config = parse_config(sys.argv[1:])
images = open_training_images("iclevr", config.data.root, 64, True)
accelerator = make_accelerator(config)
one_by_one = parse_config([*sys.argv[1:], "--gradient_accumulation_steps", "20"])
list(islice(trial_steps(one_by_one, images, accelerator), 2))
cost = training_cost(config, images.labels, 3, 1, "no", on_gpu=False)
limit = psutil.Process().memory_info().vms + 5 * cost.memory // 4
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(fitting_micro_batches(config, images, accelerator))
"""


def settings_of(run: Path) -> dict[str, object]:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


def test_a_run_keeps_the_number_that_it_started_with(tiny_dataset: Path) -> None:
    kept, chosen = (
        train(tiny_config(tiny_dataset.parent, name=f"in-{count}", gradient_accumulation_steps=count))
        for count in (2, "auto")
    )
    assert settings_of(chosen)["gradient_accumulation_steps"] == 1
    train(tiny_config(tiny_dataset.parent, name="in-2", gradient_accumulation_steps="auto"))
    assert settings_of(kept)["gradient_accumulation_steps"] == 2
    count = len(json.loads((tiny_dataset / "train.json").read_text(encoding="utf-8")))
    large = tiny_config(
        tiny_dataset.parent, name="large", epochs=1, batch_size=2 * count, gradient_accumulation_steps="auto"
    )
    assert settings_of(train(large))["gradient_accumulation_steps"] == 2  # a micro-batch may not exceed the data set


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to the limit")
def test_a_micro_batch_that_fits_is_found(tiny_dataset: Path) -> None:
    arguments = tiny_arguments(
        tiny_dataset.parent, batch_size=20, data__image_size=64, gradient_accumulation_steps="auto"
    )
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) in (2, 4, 5, 10)

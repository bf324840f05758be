"""Train a label-conditional diffusion model; the same command again goes on where it stopped.

accelerate launch scripts/train.py --config configs/iclevr_cpu.yaml
"""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.tools.hardware import this_process
from lab_ddpm.training.config import TrainConfig
from lab_ddpm.training.config_parser import parse_config
from lab_ddpm.training.provide_images import provide_images
from lab_ddpm.training.run import open_run


def train(config: TrainConfig) -> Path:
    with open_run(config) as run:  # runs/NAME with its images, model, optimizer and newest state: training/run.py
        for batch in run.batches():  # images, labels and random numbers: data/batches.py
            with run.accelerator.accumulate(run.denoiser):
                loss = run.denoiser(batch)  # noise, prediction, weighted terms: diffusion/denoiser.py
                run.update(loss)  # gradients, weights, average; then log, evaluate and save when due
    return run.folder


def main(arguments: list[str]) -> None:
    config = parse_config(arguments)
    provide_images(config)  # renders the replica where i-CLEVR has none
    folder = train(config)
    if this_process().is_main_process:
        print(f"the run is {folder}: its best pipeline is {folder / 'best'}, its curve {folder / 'metrics.jsonl'}")


if __name__ == "__main__":
    sys.exit(run(main))

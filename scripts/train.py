"""Train a label-conditional diffusion model. The same command again continues where it stopped.

accelerate launch scripts/train.py --config configs/iclevr_cpu.yaml
"""

import sys

from lab_ddpm.cli import load_torch, run
from lab_ddpm.tools.launched import is_first_process
from lab_ddpm.training.config_parser import parse_config


def main(arguments: list[str]) -> None:
    config = parse_config(arguments)
    load_torch(f"training {config.name}")
    from lab_ddpm.export.hub import check_push, push_hub
    from lab_ddpm.training.dry_run import dry_run
    from lab_ddpm.training.launch_precision import take_launcher_precision
    from lab_ddpm.training.loop import train
    from lab_ddpm.training.model import check_settings
    from lab_ddpm.training.provide_images import provide_images

    repository = config.push_to_hub if is_first_process() else None
    config = take_launcher_precision(config)
    check_settings(config)
    if config.dry_run:
        dry_run(config)
        return
    if repository:
        check_push(repository)
    provide_images(config)  # renders the replica if i-CLEVR has no images
    folder = train(config)
    if is_first_process():
        best = folder / "best"
        where = f"the pipeline to use: {best}" if best.exists() else "its pipelines have been deleted"
        print(f"the run is in {folder}; {where}, its log: {folder / 'metrics.jsonl'}")
    if repository:
        push_hub(folder / "best", repository, config.data.hub_name)
        print(f"{folder / 'best'} is also in {repository} on the Hub")


if __name__ == "__main__":
    sys.exit(run(main))

"""Kill training, rendering, sampling, sweeps and imports over and over, and see whether anything is lost."""

import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from lab_ddpm.cli import load, run
from lab_ddpm.evaluation.classifiers import classifier_file
from lab_ddpm.studies.torture import COLUMNS, Job, Outcome, torture
from lab_ddpm.tools.arguments import Parser
from lab_ddpm.tools.errors import check_at_least, check_choice
from lab_ddpm.tools.files import write_text
from lab_ddpm.tools.tables import markdown_table

SCENES = 8
TRAINING = {
    "name": "run",
    "epochs": 6,
    "batch_size": 4,
    "save_every_steps": 3,
    "log_every_steps": 1,
    "mixed_precision": "no",
    "data": {"root": "data", "num_scenes": SCENES, "num_workers": 0},
    "model": {"patch_size": 4, "block_out_channels": [32, 32], "layers_per_block": 1, "attention_levels": [1]},
    "objective": {"condition_dropout": 0.1},
    "optimizer": {"warmup_steps": 4, "ema_decay": 0.9},
    "evaluation": {"every_epochs": 2, "steps": 3, "split": "few.json"},
}
SWEEP = {
    "training": {"extends": "training.yaml", "epochs": 2, "evaluation": {"metric": "none"}},
    "classifier": "referee.safetensors",
    "num_images": 10,
    "seeds": [0],
    "settings": {"baseline": {}, "l1": {"objective.loss": "l1"}},
}
JOBS = {
    "render": Job(
        "render",
        ("render", "--num-scenes", str(SCENES + 4), "--out", "data"),
        ("data/images/*", "data/masks/*", "data/*.json*"),
    ),
    "train": Job("train", ("train", "--config", "training.yaml"), ("runs/run/last/**/*", "runs/run/samples/*.png")),
    "generate": Job(
        "generate",
        ("generate", "--checkpoint", "pipeline", "--split", "few.json", "--steps", "400"),
        ("generated/few/*.png",),
    ),
    "sweep": Job("sweep", ("ablate", "sweep.yaml"), ("ablations/sweep/table.*", "ablations/sweep/images/*.png")),
    "import": Job("import", ("import-data", "official", "--out", "there"), ("there/**/*",)),
}


def parser() -> Parser:
    parser = Parser("torture", __doc__)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), help=f"of {', '.join(JOBS)} (default: all)")
    parser.add_argument("--kills", type=int, default=50, help="of each job (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the signals (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("torture"), help="default: torture")
    return parser


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    check_at_least("kills", options.kills, 1)
    for job in options.jobs:
        check_choice("jobs", job, JOBS)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as scratch:
        template, work = make_template(Path(scratch) / "template"), Path(scratch) / "work"
        for job in options.jobs:
            outcome = torture(JOBS[job], template, work, options.kills, options.seed, options.out)
            outcomes.append(outcome)
            print(outcome, flush=True)
    write_text(options.out / "table.md", markdown_table(COLUMNS, [outcome.row() for outcome in outcomes]))
    print(f"wrote {options.out / 'table.md'}")
    return 1 if any(outcome.lost or outcome.left_over for outcome in outcomes) else 0


def make_template(folder: Path) -> Path:
    """A small replica, also in the official form; settings for a short run and for a sweep on it; a pipeline."""
    write_text(folder / "few.json", '[["red cube"], ["cyan sphere", "gray cube"]]\n')
    write_text(folder / "training.yaml", yaml.safe_dump(TRAINING))
    write_text(folder / "sweep.yaml", yaml.safe_dump(SWEEP))
    shutil.copy(classifier_file("referee"), folder)
    data, official, runs = folder / "data", folder / "official", folder / "runs"
    load("render").main(["--num-scenes", str(SCENES), "--out", str(data)])
    shutil.copytree(data / "images", official / "images", ignore=shutil.ignore_patterns("metadata.jsonl"))
    shutil.copy(data / "train.json", official)
    settings = ["--data.root", str(data), "--runs_dir", str(runs), "--evaluation.split", str(folder / "few.json")]
    load("train").main(["--config", str(folder / "training.yaml"), "--epochs", "1", *settings])
    shutil.copytree(runs / "run" / "best", folder / "pipeline")
    shutil.rmtree(runs)
    shutil.rmtree(data / ".cache")  # building it is to be disturbed, too
    return folder


if __name__ == "__main__":
    sys.exit(run(main))

"""The report that courses ask for, of a run on i-CLEVR: the outline, filled in from the settings of the run.

What the run's folder does not hold is measured: the scores on both lists, the images, the sampler against DDPM.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markdown
import torch

from lab_ddpm.data.conditions import Condition, encode, load_conditions
from lab_ddpm.data.dataset import open_dataset
from lab_ddpm.data.iclevr import OBJECTS, resolve_split
from lab_ddpm.data.images import height_width, write_png
from lab_ddpm.diffusion.reverse_process import image_seeds
from lab_ddpm.drawing.charts import training_curves
from lab_ddpm.drawing.figures import DenoisingRecorder, labelled_grid
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, classifier_file, load_classifier
from lab_ddpm.evaluation.intervals import Interval, as_text
from lab_ddpm.evaluation.score import score_seeds
from lab_ddpm.generation.sampler import Sampler
from lab_ddpm.report.rendering import render
from lab_ddpm.report.results import read_config, read_training
from lab_ddpm.tools.errors import DataError, UserError
from lab_ddpm.tools.files import check_writable, write_bytes, write_text
from lab_ddpm.tools.metrics_log import read_records

_LISTS = ("test", "new_test")
_COLUMNS = 8
_PROGRESSIVE: Condition = ("red sphere", "cyan cylinder", "cyan cube")
_PREDICTED = {
    "epsilon": "the noise eps",
    "sample": "the clean image x_0",
    "v_prediction": "v = sqrt(abar) eps - sqrt(1 - abar) x_0",
}
_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Lab report</title>
<style>
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #bbb; padding: 0.2rem 0.6rem; text-align: left; }}
img {{ max-width: 100%; }}
</style>
{body}
</html>
"""


@dataclass(frozen=True)
class _Timed:
    steps: int
    seconds: float  # an image
    found: float


def write_lab_report(run: Path, sampler: Sampler, num_seeds: int, out: Path) -> Path:
    """Measure, and write `report.md`, `report.html` and their images.

    Args:
        run: The run's folder.
        sampler: Of its best pipeline.
        num_seeds: Of the scores.
        out: Where the files go.

    Returns:
        The Markdown file.

    Raises:
        UserError: The run is not one of i-CLEVR, or is unconditional.
        DataError: `run` is not the folder of a run, or a file in it is broken.
    """
    config, training = read_config(run), read_training(run)
    if config is None or training is None:
        raise DataError(f"{run}: not the folder of a run that has begun (config.yaml and metrics.jsonl are missing)")
    if config.data.dataset == "iclevr" and not sampler.labels:
        raise UserError(f"a lab report is about conditions, and {run} is unconditional: see `lab-ddpm report`")
    if config.data.dataset != "iclevr" or sampler.labels != OBJECTS:
        raise UserError(f"a lab report is about i-CLEVR, and {run} is of {config.data.dataset}: see `lab-ddpm report`")
    dataset = open_dataset("iclevr", Path(config.data.root), config.data.image_size)
    check_writable(out)
    lists = {name: load_conditions(resolve_split(name, config.data.root), OBJECTS) for name in _LISTS}
    classifiers = {
        name: load_classifier(classifier_file(name), OBJECTS).to(sampler.denoiser.device) for name in CLASSIFIERS
    }
    scores = []
    for name, conditions in lists.items():
        images = sampler.sample_seeds(conditions, num_seeds, progress="sampling").images
        write_png(
            out / f"{name}.png",
            labelled_grid(images[: len(conditions)], [", ".join(names) for names in conditions], _COLUMNS),
        )
        for classifier, found in score_seeds(images, encode(conditions, OBJECTS), classifiers).items():
            texts = {key: as_text(Interval(**found[key]), ".3f") for key in ("micro", "exact_match")}
            scores.append({"list": name, "classifier": classifier, **texts})
    recorder = DenoisingRecorder(num_train_timesteps=sampler.denoiser.config["num_train_timesteps"])
    sampler.sample([_PROGRESSIVE], image_seeds(0, 1), on_state=recorder)
    recorder.write(out, [_PROGRESSIVE])
    curves = training_curves(read_records(run / "metrics.jsonl"))
    for name, content in curves.items():
        write_bytes(out / f"{name}.png", content)
    text = render(
        "lab_report.md",
        run=run,
        config=config,
        training=training,
        num_labels=len(OBJECTS),
        num_images=len(dataset),
        size=height_width(config.data.image_size),
        parameters=f"{sampler.denoiser.num_parameters() / 1e6:.1f} M",
        predicted=_PREDICTED[config.diffusion.prediction_type],
        curves=list(curves),
        sampler=sampler.settings(),
        num_seeds=num_seeds,
        scores=scores,
        progressive=", ".join(_PROGRESSIVE),
        device=_device(sampler),
        comparison=_compare(sampler, lists["test"], classifiers["referee"]),
    )
    write_text(out / "report.md", text)
    write_text(out / "report.html", _HTML.format(body=markdown.markdown(text, extensions=["tables", "fenced_code"])))
    return out / "report.md"


def _compare(sampler: Sampler, conditions: list[Condition], referee: torch.nn.Module) -> dict[str, Any]:
    """The sampler against DDPM with all its steps, under the same guidance."""
    num_train_timesteps = sampler.denoiser.config["num_train_timesteps"]
    ddpm = Sampler(sampler.pipeline, "ddpm", num_train_timesteps, sampler.guidance_scale, sampler.guidance_stop)
    results = {}
    for name, one in (("own", sampler), ("ddpm", ddpm)):
        started = time.perf_counter()
        images = one.sample_seeds(conditions, 1, progress="sampling").images
        seconds = (time.perf_counter() - started) / len(conditions)
        scores = score_seeds(images, encode(conditions, OBJECTS), {"referee": referee})["referee"]
        results[name] = _Timed(one.steps, seconds, scores["micro"]["mean"])
    return {"count": len(conditions), **results}


def _device(sampler: Sampler) -> str:
    device = sampler.denoiser.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"

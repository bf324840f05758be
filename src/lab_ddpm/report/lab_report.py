"""The lab report that courses ask for about a run on i-CLEVR: a template, filled in.

Settings and curves come from the run's folder. The rest is measured: scores on both lists, images, and the speed of the
pipeline's sampler compared with DDPM.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import markdown
import torch

from lab_ddpm.data.conditions import Condition, encode, load_conditions, load_labels
from lab_ddpm.data.iclevr import OBJECTS, resolve_split
from lab_ddpm.data.images import height_width, write_png
from lab_ddpm.data.labelled_images import LABEL_FILE
from lab_ddpm.diffusion.pipeline import LabelConditionalPipeline
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.drawing.charts import training_curves
from lab_ddpm.drawing.figures import DenoisingRecorder, labelled_grid
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.judging import Judges
from lab_ddpm.evaluation.scores import score_seeds
from lab_ddpm.generation.generate import generate, generate_seeds, sampling_record
from lab_ddpm.report.rendering import render
from lab_ddpm.report.results import read_config, read_training
from lab_ddpm.tools.files import check_writable, write_bytes, write_text
from lab_ddpm.training.metrics_log import read_records

_LISTS = ("test", "new_test")
_COLUMNS = 8
_DENOISED: Condition = ("red sphere", "cyan cylinder", "cyan cube")
_PREDICTED = {
    "epsilon": "the noise eps",
    "sample": "the clean image x_0",
    "v_prediction": "v = sqrt(abar) eps - sqrt(1 - abar) x_0",
}


def why_no_lab_report(run: Path) -> str | None:
    """The reason why there can be no lab report about a run; None if there can be one.

    Raises:
        DataError: A file of the run is broken.
    """
    config = read_config(run)
    if config is None or read_training(run) is None:
        return f"{run} has no config.yaml and metrics.jsonl of a training"
    if config.data.dataset != "iclevr" or not config.data.conditional:
        return f"{run} was not trained on i-CLEVR with its labels"
    return None if (run / "best").exists() else f"{run} has no best/ yet"


def write_lab_report(run: Path, pipeline: LabelConditionalPipeline, num_seeds: int, out: Path) -> Path:
    """Measure, and write `report.md`, `report.html` and their images.

    Args:
        run: The folder of a run about which `why_no_lab_report` says that there can be one.
        pipeline: Its best pipeline, with the sampling to use.
        num_seeds: Seeds of the scores.
        out: Folder of the files.

    Returns:
        The Markdown file.

    Raises:
        UserError: The labels of the pipeline are not those of i-CLEVR.
        DataError: A file of the run, of the data or a classifier is broken or missing.
    """
    config, training = read_config(run), read_training(run)
    assert config is not None
    assert training is not None
    num_images = len(load_labels(Path(config.data.root) / LABEL_FILE, OBJECTS))
    check_writable(out)
    lists = {name: load_conditions(resolve_split(name, config.data.root), OBJECTS) for name in _LISTS}
    judges, scores = Judges(pipeline.device), []
    for name, conditions in lists.items():
        images = generate_seeds(pipeline, conditions, num_seeds, progress=f"sampling {name}").images
        by_classifier, counts = judges.score(images, conditions)
        captions = [", ".join(condition) for condition in conditions]
        write_png(out / f"{name}.png", labelled_grid(images[: len(conditions)], captions, _COLUMNS))
        for classifier, found in by_classifier.items():
            texts = {key: as_text(found[key], ".3f") for key in ("micro", "exact_match")}
            scores.append({"list": name, "classifier": classifier, **texts, "right": as_text(counts["right"], ".3f")})
    recorder = DenoisingRecorder(pipeline.denoiser)
    generate(pipeline, [_DENOISED], image_seeds(0, 1), on_state=recorder)
    recorder.write(out, [_DENOISED])
    curves = training_curves(read_records(run / "metrics.jsonl"))
    for name, content in curves.items():
        write_bytes(out / f"{name}.png", content)
    text = render(
        "lab_report.md",
        run=run,
        config=config,
        training=training,
        num_labels=len(OBJECTS),
        num_images=num_images,
        size=height_width(config.data.image_size),
        parameters=f"{pipeline.denoiser.num_parameters() / 1e6:.1f} M",
        predicted=_PREDICTED[config.model["prediction_type"]],
        curves=list(curves),
        sampling=sampling_record(pipeline),
        num_seeds=num_seeds,
        scores=scores,
        denoised=", ".join(_DENOISED),
        device=_device_name(pipeline.device),
        num_compared=len(lists["test"]),
        comparison=_compare_with_ddpm(pipeline, lists["test"], judges.classifiers["referee"]),
    )
    write_text(out / "report.md", text)
    body = markdown.markdown(text, extensions=["tables", "fenced_code"])
    write_text(out / "report.html", render("lab_report.html", body=body))
    return out / "report.md"


def _compare_with_ddpm(
    pipeline: LabelConditionalPipeline, conditions: list[Condition], referee: torch.nn.Module
) -> dict[str, dict[str, Any]]:
    """Speed and score of DDPM with all its steps and of the pipeline's own sampling, with the same guidance."""
    ddpm = pipeline.with_sampling("ddpm", pipeline.denoiser.config["num_train_timesteps"])
    results = {}
    for name, sampled in (("ddpm", ddpm), ("own", pipeline)):
        started = time.perf_counter()
        images = generate_seeds(sampled, conditions, 1, progress=f"{sampled.sampling.steps} steps").images
        seconds = (time.perf_counter() - started) / len(conditions)
        found = score_seeds(images, encode(conditions, OBJECTS), {"referee": referee})["referee"]["micro"]["mean"]
        results[name] = {"steps": sampled.sampling.steps, "seconds": seconds, "found": found}
    return results


def _device_name(device: torch.device) -> str:
    threads = torch.get_num_threads()
    cpu = "1 CPU thread" if threads == 1 else f"{threads} CPU threads"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu

"""The card of a pipeline on the Hub: its README, with a block of metadata for the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lab_ddpm.diffusion.denoiser import Denoiser
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.tools.errors import DataError
from lab_ddpm.tools.files import read_json

_TAGS = ["diffusion", "ddpm", "lab_ddpm"]
_USE_TITLE = "\n## Use\n"
_USE = """
```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)
pipe({call}).images
```

The code of the pipeline is in `pipeline.py`; read it before you trust it. If lab_ddpm is installed,
`lab-ddpm generate --checkpoint {folder}` makes images without running this code.
"""


def make_card(
    checkpoint: Path, denoiser: Denoiser, folder: str, license: str | None = None, dataset: str | None = None
) -> ModelCard:
    """The card of a pipeline.

    Args:
        checkpoint: The pipeline's folder. The card includes its `README.md` (of the metadata: license, data sets and
            metrics) and the scores in its `metrics.json`, if there are any.
        denoiser: The pipeline's model.
        folder: The pipeline's name on the Hub, or the folder to load it from.
        license: The license in the card, as the Hub names it ("mit" for example); None keeps that of `README.md`.
        dataset: USER/NAME of the training data on the Hub; None keeps those of `README.md`.

    Raises:
        DataError: `metrics.json` is broken.
    """
    readme, scores, name = checkpoint / "README.md", checkpoint / "metrics.json", Path(folder).name
    text, stated = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {name}\n", {}
    if text.startswith("---\n"):
        card = ModelCard(text)
        text, stated = card.text.lstrip().partition(_USE_TITLE)[0], card.data.to_dict()
    data = ModelCardData(
        license=license or stated.get("license"),
        library_name="diffusers",
        pipeline_tag=None if denoiser.labels else "unconditional-image-generation",
        tags=[*_TAGS, "class-conditional" if denoiser.labels else "unconditional"],
        datasets=[dataset] if dataset else stated.get("datasets"),
        metrics=stated.get("metrics"),
        model_name=name,
        eval_results=_results(scores) if scores.is_file() else None,
    )
    call = f"[{', '.join(denoiser.labels[:2])!r}], seed=0" if denoiser.labels else "batch_size=4, seed=0"
    content = text.rstrip() + "\n" + _USE_TITLE + _USE.format(folder=folder, call=call)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{content}")


def _results(path: Path) -> list[EvalResult] | None:
    """The two scores of each list and classifier, with their intervals in the names."""
    content: Any = read_json(path)
    try:
        return [
            _result(split, classifier, metric, scores[metric])
            for split, by_classifier in content.get("splits", {}).items()
            for classifier, scores in by_classifier.items()
            for metric in ("micro", "exact_match")
        ] or None
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not in the form that `lab-ddpm evaluate` writes ({error!r})") from None


def _result(split: str, classifier: str, metric: str, score: Mapping[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="image-generation",
        dataset_type="iclevr",
        dataset_name=f"i-CLEVR conditions ({split})",
        dataset_split=split,
        metric_type=metric,
        metric_name=f"{metric} by {classifier}: {as_text(score, '.3f')}",
        metric_value=round(score["mean"], 4),
    )

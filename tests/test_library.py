"""The library as it is imported, and the pipelines that come with it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lab_ddpm
from lab_ddpm.diffusion.sampling import image_seeds
from lab_ddpm.generation.checkpoint import checkpoint_hash, load_pipeline
from lab_ddpm.generation.generate import generate, sampling_record
from lab_ddpm.tools.files import sha256
from lab_ddpm.tools.shipped import SHIPPED, find_shipped

# Four images side by side for each call, with the guidance of the pipeline (None) or another one. They were sampled in
# float32 on a machine with AVX2; other machines differ by rounding.
IMAGES = Path(__file__).parent / "shipped_images"
CONDITIONS = {
    "iclevr-cpu": [
        "red cube",
        "cyan sphere, gray cylinder",
        "blue cube, green cube, purple sphere",
        "yellow cylinder, brown cylinder",
    ],
    "fashion-mnist": ["Sneaker", "Bag", "T-shirt/top", "Dress"],
}
METRICS = ["iclevr-cpu/metrics.json", "fashion-mnist/metrics.json", "fashion-mnist/metrics_unconditional.json"]
CALLS = [
    ("ddim", 50, None),
    ("ddpm", 20, 1.0),
    ("dpmpp", 10, None),
    ("dpmpp_sde", 20, None),
    ("unipc", 10, 2.0),
    ("euler", 10, None),
]


def test_everything_that_is_exported_can_be_imported() -> None:
    for name in lab_ddpm.__all__:
        assert getattr(lab_ddpm, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lab_ddpm.nonsense  # pyright: ignore[reportAttributeAccessIssue]


def test_the_snippet_of_the_package_runs_in_an_empty_folder(tmp_path: Path) -> None:
    _, snippet = (lab_ddpm.__doc__ or "").split("\n\n", 1)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{'micro': {'mean': ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_shipped_pipelines_sample_what_they_sampled_before(name: str) -> None:
    pipeline = load_pipeline(SHIPPED / "pretrained" / name)
    conditions = [tuple(text.split(", ")) for text in CONDITIONS[name]]
    calls = [(scheduler, steps, guidance, conditions) for scheduler, steps, guidance in CALLS]
    calls.append(("ddim", 20, 1.0, [()] * 4))
    for index, (scheduler, steps, guidance, asked) in enumerate(calls):
        sampled_otherwise = pipeline.with_sampling(scheduler, steps, guidance)
        one = index % 4  # of the four images, which do not depend on each other
        found = generate(sampled_otherwise, [asked[one]], [image_seeds(0, 4)[one]]).images[0]
        place = f"{name}-{scheduler}-{steps}-{guidance or 'own'}{'' if asked[0] else '-null'}.png"
        with Image.open(IMAGES / place) as row:
            expected = np.split(np.asarray(row).reshape(found.shape[0], -1, found.shape[2]), 4, axis=1)[one]
        difference = np.abs(expected.astype(int) - found)
        assert difference.max() <= 2, place
        assert (difference > 0).mean() < 0.01, place


def test_files_of_ones_own_come_before_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_shipped("data/iclevr/test.json") == SHIPPED / "data/iclevr/test.json"
    (tmp_path / "data/iclevr").mkdir(parents=True)
    (tmp_path / "data/iclevr/test.json").write_text("[]")
    assert find_shipped("data/iclevr/test.json") == Path("data/iclevr/test.json")
    assert find_shipped("evaluator/absent.safetensors") == Path("evaluator/absent.safetensors")
    assert find_shipped("src/lab_ddpm/cli.py") == Path("src/lab_ddpm/cli.py")  # there, but not for users


@pytest.mark.parametrize("path", METRICS)
def test_the_scores_are_those_of_the_pipeline_that_is_shipped(path: str) -> None:
    metrics = json.loads((SHIPPED / "pretrained" / path).read_text(encoding="utf-8"))
    folder = Path("pretrained") / Path(path).parent
    own = sampling_record(load_pipeline(SHIPPED / folder))
    assert metrics["checkpoint"] == folder.as_posix()
    assert metrics["checkpoint_hash"] == checkpoint_hash(SHIPPED / folder)
    assert (metrics["scheduler"], metrics["steps"]) == (own["scheduler"], own["steps"])
    for classifier in metrics.get("classifiers", {}).values():
        assert classifier["sha256"] == sha256(SHIPPED / "evaluator" / classifier["file"])

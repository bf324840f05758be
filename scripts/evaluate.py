"""Sample the condition lists over several seeds and score the images; or score images that are there."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from lab_ddpm.cli import run
from lab_ddpm.data.conditions import Condition, count_seen, encode, load_conditions, load_labels
from lab_ddpm.data.iclevr import OBJECTS, ROOT, resolve_split
from lab_ddpm.data.numbered_images import read_numbered_images
from lab_ddpm.evaluation.classifiers import CLASSIFIERS, IMAGE_SIZE, classifier_file, load_classifier
from lab_ddpm.evaluation.intervals import as_text
from lab_ddpm.evaluation.object_scores import Scores
from lab_ddpm.evaluation.score import score_seeds
from lab_ddpm.generation.sampler import open_sampler
from lab_ddpm.tools.arguments import SPLITS_HELP, Parser, add_checkpoint, add_sampling, sampling_options
from lab_ddpm.tools.errors import DataError, UserError, check_at_least
from lab_ddpm.tools.files import check_writable, read_json, sha256, write_json
from lab_ddpm.tools.hardware import this_process

Lists = dict[str, list[Condition]]
Results = dict[str, dict[str, Scores]]  # list -> classifier -> scores


def parser() -> Parser:
    parser = Parser("evaluate", __doc__)
    parser.add_argument("--split", action="append", help=f"{SPLITS_HELP}; may be repeated (default: test and new_test)")
    parser.add_argument("--images", type=Path, help="score the numbered PNG files of this folder instead of sampling")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"folder of the condition lists (default: {ROOT})")
    parser.add_argument("--num-seeds", type=int, help="seeds 0, 1, ... (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="default: evaluation")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.images is not None:
        if options.split is None or len(options.split) != 1:
            raise UserError("`--images` needs the one `--split` that its images were made for")
        sampling = sampling_options(options)
        runtime = sampling.pop("runtime")
        given = (options.checkpoint, options.num_seeds, *sampling.values())
        if runtime != "auto" or any(option is not None for option in given):
            raise UserError("`--images` scores images that exist: options of sampling do not go with it")
    num_seeds = 4 if options.num_seeds is None else options.num_seeds
    check_at_least("num-seeds", num_seeds, 1)
    check_writable(options.out)
    splits = options.split or ["test", "new_test"]
    places = {split: resolve_split(split, options.root) for split in splits}
    lists = {split: load_conditions(place, OBJECTS) for split, place in places.items()}
    files = {name: classifier_file(name) for name in CLASSIFIERS}
    classifiers = {name: load_classifier(file, OBJECTS).to(this_process().device) for name, file in files.items()}
    if this_process().is_main_process:
        print("classifiers: " + ", ".join(f"{name} = {file}" for name, file in files.items()))
    settings, results = (
        _existing(options, lists, classifiers) if options.images else _sampled(options, num_seeds, lists, classifiers)
    )
    if this_process().is_main_process:
        hashes = {name: {"file": file.name, "sha256": sha256(file)} for name, file in files.items()}
        by = {"lists": {split: sha256(place) for split, place in places.items()}, "classifiers": hashes}
        write_json(options.out / "metrics.json", {**settings, **by, "splits": results})
        print_table(results)
        print(f"wrote {options.out / 'metrics.json'} (mean [95 % interval over seeds and conditions])")


def _sampled(options: Namespace, num_seeds: int, lists: Lists, classifiers: dict) -> tuple[dict[str, Any], Results]:
    """Settings and scores of the samples of the seeds 0 ... num_seeds - 1."""
    sampler = open_sampler(options.checkpoint, **sampling_options(options))
    if sampler.labels != OBJECTS:
        raise UserError(
            f"{sampler.checkpoint} was trained on other labels than the {len(OBJECTS)} i-CLEVR objects: "
            "scripts/evaluate_distribution.py scores it"
        )
    _report_seen(lists, options.root / "train.json")
    results: Results = {}
    for split, conditions in lists.items():
        images = sampler.sample_seeds(conditions, num_seeds, progress=f"sampling {split}").images
        results[split] = score_seeds(images, encode(conditions, OBJECTS), classifiers)
    return {**sampler.settings(), "seeds": list(range(num_seeds))}, results


def _existing(options: Namespace, lists: Lists, classifiers: dict) -> tuple[dict[str, Any], Results]:
    """Settings and scores of the numbered images of a folder."""
    ((split, conditions),) = lists.items()
    tries = _check_manifest(options.images / "manifest.json", conditions, split)
    images = read_numbered_images(options.images, len(conditions), IMAGE_SIZE)
    results = {split: score_seeds(images, encode(conditions, OBJECTS), classifiers)}
    if tries > 1 and this_process().is_main_process:
        print(f"note: each image is the best of up to {tries} (`--tries`), as the model itself sees it")
    return {"checkpoint": None, "images": str(options.images), "tries": tries, "seeds": []}, results


def _check_manifest(path: Path, conditions: Sequence[Condition], split: str) -> int:
    """Where `generate` made the images, its manifest knows for which conditions, and in how many tries."""
    try:
        manifest = cast(Any, read_json(path))
        made = [tuple(image["condition"]) for image in manifest["images"]]
        tries = int(manifest.get("tries", 1))
    except (AttributeError, DataError, KeyError, TypeError, ValueError):  # there is none, or one of another program
        return 1
    if made != list(conditions):
        raise UserError(f"{path} says that its images were made for other conditions than those of {split!r}")
    return tries


def _report_seen(lists: Lists, labels: Path) -> None:
    """`unseen` promises combinations without a training image; say so where the data at hand breaks it."""
    if "unseen" in lists and labels.is_file() and this_process().is_main_process:
        seen = count_seen(lists["unseen"], load_labels(labels, OBJECTS))
        if seen:
            print(f"note: {seen} of the {len(lists['unseen'])} unseen conditions occur in {labels}")


def print_table(results: Results) -> None:
    print(f"{'split':<12} {'classifier':<10} {'micro':<24} exact match")
    for split, by_classifier in results.items():
        for name, scores in by_classifier.items():
            print(
                f"{split:<12} {name:<10} {as_text(scores['micro'], '.4f'):<24} {as_text(scores['exact_match'], '.4f')}"
            )


if __name__ == "__main__":
    sys.exit(run(main))

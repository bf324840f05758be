"""Score a model or a folder of images, or compare a model's images with a data set (--against)."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from lab_ddpm.arguments import (
    HUB_OPTIONS,
    SPLITS_HELP,
    Parser,
    add_checkpoint,
    add_hub_options,
    add_sampling,
    hub_options,
    refuse,
    sampling_options,
)
from lab_ddpm.cli import load_torch, run
from lab_ddpm.data.conditions import load_conditions, load_labels
from lab_ddpm.data.iclevr import OBJECTS, ROOT, resolve_split
from lab_ddpm.iclevr.condition_lists import count_seen
from lab_ddpm.tools.errors import UserError, check_at_least, check_choice
from lab_ddpm.tools.extras import require_extra
from lab_ddpm.tools.files import check_writable, sha256, write_json
from lab_ddpm.tools.shipped import find_shipped

COPIES_SHOWN = 16


def parser() -> Parser:
    parser = Parser("evaluate", __doc__)
    parser.add_argument("--split", action="append", help=f"{SPLITS_HELP}; repeatable (default: test and new_test)")
    parser.add_argument("--images", type=Path, help="score the numbered PNG files of this folder instead of sampling")
    add_checkpoint(parser)
    add_sampling(parser)
    parser.add_argument("--root", type=Path, help=f"folder of the lists or of the data set (default: {ROOT})")
    parser.add_argument("--num-seeds", type=int, help="seeds 0, 1, ... (default: 4; with --against: 3)")
    parser.add_argument("--out", type=Path, help="default: evaluation; with --against: distances")
    sets = parser.add_argument_group("distances between generated images and those of a data set")
    datasets = "compare with iclevr, mnist, fashion_mnist, cifar10, flowers102, folder or hub (needs --root)"
    sets.add_argument("--against", metavar="DATASET", help=datasets)
    sets.add_argument("--held-out", type=Path, help="folder of images not used in training; for hub: a split")
    features = "inception, or a classifier's file (default: evaluator/DATASET.safetensors)"
    sets.add_argument("--features", help=features)
    sets.add_argument("--unconditional", action="store_true", default=None, help="sample without conditions")
    sets.add_argument("--num-images", type=int, help="images per seed (default: 5000)")
    add_hub_options(parser)
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.against is not None:
        refuse(options, "--against", "split", "images")
        if options.root is None:
            raise UserError("`--against` needs `--root`, the folder of the data set")
    elif options.images is not None:
        refuse(options, "--images", "checkpoint", "num_seeds", *sampling_options(options))
        if options.split is None or len(options.split) != 1:
            raise UserError("`--images` needs one `--split`: the conditions of the images")
    for name in ("held-out", "features", "unconditional", "num-images", *(f"data.{name}" for name in HUB_OPTIONS)):
        if options.against is None and getattr(options, name.replace("-", "_")) is not None:
            raise UserError(f"`--{name}` needs `--against`")
    of_hub = hub_options(options, options.against)
    num_seeds = options.num_seeds if options.num_seeds is not None else 3 if options.against else 4
    num_images = 5000 if options.num_images is None else options.num_images
    check_at_least("num-seeds", num_seeds, 1)
    check_at_least("num-images", num_images, 4)
    out = options.out or Path("distances" if options.against else "evaluation")
    check_writable(out)
    if options.against is not None:
        compare_with_dataset(options, of_hub, num_seeds, num_images, out)
    else:
        score_conditions(options, num_seeds, out)


def score_conditions(options: Namespace, num_seeds: int, out: Path) -> None:
    """Score the images of condition lists, sampled or from a folder, with both classifiers and the counter."""
    root = options.root or ROOT
    files = {split: resolve_split(split, root) for split in options.split or ("test", "new_test")}
    lists = {split: load_conditions(file, OBJECTS) for split, file in files.items()}
    load_torch("scoring images" if options.images else "sampling and scoring images")
    from lab_ddpm.data.numbered_images import read_numbered_images
    from lab_ddpm.evaluation.classifiers import IMAGE_SIZE
    from lab_ddpm.evaluation.counter import COUNTER_FILE
    from lab_ddpm.evaluation.intervals import as_text
    from lab_ddpm.evaluation.judging import Judges
    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.generation.generate import generate_seeds, sampling_record
    from lab_ddpm.generation.manifest import check_manifest
    from lab_ddpm.tools.hardware import this_process

    is_main, judges = this_process().is_main_process, Judges(this_process().device)
    if is_main:
        print("classifiers: " + ", ".join(f"{name} = {file}" for name, file in judges.files.items()))
    results, counted = {}, {}
    if options.images is not None:
        ((split, conditions),) = lists.items()
        check_manifest(options.images, conditions)
        images = read_numbered_images(options.images, len(conditions), IMAGE_SIZE)
        results[split], counted[split] = judges.score(images, conditions)
        record = {"checkpoint": None, "images": str(options.images), "seeds": []}
    else:
        pipeline = open_pipeline(options.checkpoint, **sampling_options(options))
        if pipeline.denoiser.labels != OBJECTS:
            raise UserError(
                f"the labels of {pipeline.checkpoint} are not the {len(OBJECTS)} objects of i-CLEVR: "
                "use `--against`, or name another `--checkpoint`"
            )
        if "unseen" in lists and (root / "train.json").is_file():
            seen = count_seen(lists["unseen"], load_labels(root / "train.json", OBJECTS))
            if seen and is_main:
                print(f"note: {seen} of the {len(lists['unseen'])} unseen conditions occur in {root / 'train.json'}")
        for split, conditions in lists.items():
            images = generate_seeds(pipeline, conditions, num_seeds, progress=f"sampling {split}").images
            results[split], counted[split] = judges.score(images, conditions)
        record = {**sampling_record(pipeline), "seeds": list(range(num_seeds))}

    if not is_main:
        return
    judged_by = {**judges.files, "counter": find_shipped(COUNTER_FILE)}
    hashes = {name: {"file": file.name, "sha256": sha256(file)} for name, file in judged_by.items()}
    used = {"lists": {split: sha256(file) for split, file in files.items()}, "classifiers": hashes}
    write_json(out / "metrics.json", {**record, **used, "splits": results, "counted": counted})
    print(f"{'split':<12} {'classifier':<10} {'micro':<24} exact match")
    for split, by_classifier in results.items():
        for name, scores in by_classifier.items():
            micro, exact_match = (as_text(scores[key], ".4f") for key in ("micro", "exact_match"))
            print(f"{split:<12} {name:<10} {micro:<24} {exact_match}")
    print(f"\n{'split':<12} {'right (counter)':<24} too many objects")
    for split, counts in counted.items():
        print(f"{split:<12} {as_text(counts['right'], '.4f'):<24} {as_text(counts['too_many'], '.4f')}")
    print(f"wrote {out / 'metrics.json'} (mean [95 % interval over seeds and conditions])")


def compare_with_dataset(
    options: Namespace, of_hub: dict[str, Any], num_seeds: int, num_images: int, out: Path
) -> None:
    """Compare generated images with the training images of a data set; a conditional model gets their labels."""
    load_torch(f"comparing generated images with {options.against}")
    from lab_ddpm.data.images import write_png
    from lab_ddpm.data.open_dataset import DATASETS, open_dataset, open_held_out, short_name
    from lab_ddpm.diffusion.sampling import image_seeds
    from lab_ddpm.drawing.figures import image_table
    from lab_ddpm.evaluation.classifiers import EVALUATOR_DIR, load_classifier
    from lab_ddpm.evaluation.comparison import Comparison, check_data
    from lab_ddpm.evaluation.intervals import as_text, mean_interval
    from lab_ddpm.generation.checkpoint import open_pipeline
    from lab_ddpm.generation.generate import generate, sampling_record
    from lab_ddpm.tools.hardware import this_process

    check_choice("against", options.against, DATASETS)
    features = options.features or str(EVALUATOR_DIR / f"{short_name(options.against, options.root)}.safetensors")
    if features == "inception":  # what is missing is noticed before images are decoded
        require_extra("torch_fidelity")
    else:
        load_classifier(features, None)
    pipeline = open_pipeline(options.checkpoint, **sampling_options(options))
    size = pipeline.denoiser.config["sample_size"]
    held_out = open_held_out(options.against, options.root, options.held_out, size, **of_hub)
    training = open_dataset(options.against, options.root, size, **of_hub)
    check_data(pipeline, training)
    is_conditional = bool(pipeline.denoiser.labels) and not options.unconditional
    if is_conditional and not training.labels:
        raise UserError("these images have no labels to use as conditions: use `--unconditional`")
    comparison = Comparison(training, held_out, features, num_images)

    runs = []
    for seed in range(num_seeds):
        conditions = training.some_labels(num_images, seed) if is_conditional else [()] * num_images
        seeds = image_seeds(seed, num_images)
        generated = generate(pipeline, conditions, seeds, batch_size=256, progress=f"sampling seed {seed}")
        runs.append((generated, comparison.scores(generated.images, generated.class_labels)))
    if not this_process().is_main_process:
        return

    (first, scores), *_ = runs
    figures, images, nearest = comparison.find_copies(first.images, COPIES_SHOWN)
    write_png(out / "copies.png", image_table([["sample", *images], ["nearest", *nearest]]))
    content = {
        **sampling_record(pipeline, first),
        "data": {
            "against": options.against,
            "root": str(options.root),
            "held_out": options.held_out and str(options.held_out),
            **of_hub,
        },
        "conditional": is_conditional,
        "seeds": list(range(num_seeds)),
        "num_images": num_images,
        "features": features,
        "scores": {key: mean_interval([values[key] for _, values in runs]) for key in scores},
        "held_out": comparison.held_out,
        "num_held_out": comparison.num_held_out,
        "nearest_training_image": figures,
    }
    write_json(out / "metrics.json", content)
    print(f"features: {features}")
    print(f"{'':<16} {'model':<36} {comparison.num_held_out} held-out real images")
    for key, score in content["scores"].items():
        print(f"{key:<16} {as_text(score, '.4f'):<36} {comparison.held_out[key]:.4f}")
    print(f"wrote metrics.json and copies.png to {out}/")


if __name__ == "__main__":
    sys.exit(run(main))

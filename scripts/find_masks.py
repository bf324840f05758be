"""Find what stands where in images of i-CLEVR without masks, in their differences; or compare that with masks."""

import sys
from pathlib import Path

from lab_ddpm.cli import run
from lab_ddpm.data.iclevr import ROOT
from lab_ddpm.evaluation.intervals import as_text, mean_interval
from lab_ddpm.iclevr.official.masks import check_masks, write_masks
from lab_ddpm.tools.arguments import Parser
from lab_ddpm.tools.errors import UserError


def parser() -> Parser:
    parser = Parser("find-masks", __doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help=f"holds images/ and train.json (default: {ROOT})")
    parser.add_argument("--check", action="store_true", help="write nothing, and compare with the masks that are there")
    return parser


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    if options.check:
        if not (options.root / "masks").is_dir():
            raise UserError(f"{options.root} has no masks to compare with")
        shares = check_masks(options.root)
        overlap = as_text(mean_interval(shares), ".3f")
        print(f"area shared with the known masks (intersection over union), mean of {len(shares)} objects: {overlap}")
    else:
        print(f"wrote {write_masks(options.root)} masks to {options.root / 'masks'}/")


if __name__ == "__main__":
    sys.exit(run(main))

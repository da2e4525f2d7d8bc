r"""Draw the figures of arXiv 2102.03229 with encoders of one's own: pre-train what is missing, evaluate, draw.

    python scripts/reproduce_paper.py fig3 fig5 --data ../shared/data/mini --corpus corpus/ \
        --pretrain-recipe recipes/reproduction.toml --budget 10 --work runs/reproduction -o docs/reproduction

`--data` holds OpenMIC-2018, Extended Ballroom and FMA small in their published layouts. `--budget` is the minutes
that each pre-training may take on this machine; the figures say how many crops that were. Everything computed is kept
under `--work` and used again, so figures can be made one by one. Each figure becomes NAME.png and a section of
README.md: what it compares, the paper's claim, whether it held, the numbers, the budget, this command. What a figure
shows follows the paper's section 4 as far as its claims go; its own data, budgets and axes are not reproduced. A
stopped run goes on with what is missing.
"""

import argparse
import sys
from pathlib import Path
from subprocess import CalledProcessError

from benchmark_page import write_section
from reproduction.encoders import Workshop
from reproduction.figures import FIGURES, Drawn
from reproduction.results import Laboratory, TrainedSettings

from musicpase.atomic import write_atomic
from musicpase.errors import MusicpaseError
from musicpase.features.figure import render


def main() -> int:
    options = parse()
    workshop = Workshop(options.work, options.corpus, options.pretrain_recipe, options.budget)
    laboratory = Laboratory(
        workshop,
        options.data,
        options.trials,
        TrainedSettings(options.trained_trials, options.max_epochs, options.batch_size, options.crop_seconds),
        options.device,
    )
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.figures:
        drawn = FIGURES[name](laboratory)
        write_atomic(options.output / f"{name}.png", render(drawn.figure, "png"))
        title = f"{name}: {(FIGURES[name].__doc__ or '').rstrip('.')}"
        page = options.output / "README.md"
        write_section(name, title, section(name, drawn, laboratory), page, "# The paper's figures, again\n")
        for claim in drawn.claims:
            print(f"{name}: {claim.text}: {claim.verdict}", flush=True)
    return 0


def section(name: str, drawn: Drawn, laboratory: Laboratory) -> str:
    """What stands beside the figure."""
    workshop, trained = laboratory.workshop, laboratory.trained
    blocks = [
        f"![{name}]({name}.png)",
        "\n".join(f"- The paper: {claim.text}. Here: **{claim.verdict}**." for claim in drawn.claims),
        drawn.numbers.strip(),
        f"Budget: each encoder saw {workshop.crops():,} crops ({workshop.minutes:g} minutes on this machine), the "
        f"re-weighted one twice. Frozen: {laboratory.trials} trials. Trained with its head: {trained.trials}, "
        f"each at most {trained.max_epochs} epochs of a crop of {trained.crop_seconds:g} s per clip, "
        f"{trained.batch_size} clips a step. ±: deviation over trials. Intervals: over test clips.",
    ]
    return "\n\n".join(block for block in blocks if block)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="+", choices=FIGURES, metavar="|".join(FIGURES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="made by `musicpase corpus`")
    parser.add_argument("--pretrain-recipe", type=Path, default=Path("recipes/reproduction.toml"))
    parser.add_argument("--budget", type=float, default=10.0, metavar="MINUTES")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--trials", type=int, default=10, help="of frozen encoders")
    parser.add_argument("--trained-trials", type=int, default=2, help="where the encoder is trained, too")
    parser.add_argument("--max-epochs", type=int, default=10, help="then")
    parser.add_argument("--batch-size", type=int, default=32, help="then")
    parser.add_argument("--crop-seconds", type=float, default=3.0, help="then")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/reproduction"))
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MusicpaseError as error:
        sys.exit(f"reproduce_paper.py: {error}")
    except CalledProcessError:
        sys.exit("reproduce_paper.py: a training failed; its message is above")

"""Results of the encoders on the three benchmarks, in the three scenarios; what was computed is used again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from musicpase.downstream.evaluate import Evaluation, evaluate
from musicpase.downstream.fitting import FitSettings
from musicpase.downstream.report_folder import digest
from musicpase.downstream.scenarios import Scenario
from musicpase.downstream.statistics import summarise
from musicpase.downstream.task import Task, leave_out
from musicpase.downstream.tasks import open_task
from musicpase.downstream.trial import Trial, load_trial
from musicpase.errors import ConfigError
from musicpase.inference.encoder import load_encoder

from .encoders import Workshop

__all__ = ["TASKS", "Cell", "Difference", "Laboratory", "Result", "TrainedSettings"]

TASKS = {"openmic-2018": "OpenMIC-2018", "extended-ballroom": "Extended Ballroom", "fma-small": "FMA small"}

Cell = tuple[str, Scenario]
"""An encoder in a scenario."""


@dataclass(frozen=True)
class Result:
    """The metric of the task at one level of training data.

    Attributes:
        mean: over trials.
        std: over trials; None for a single one.
        train_size: clips that were trained on.
        confusion: row-normalised.
    """

    mean: float
    std: float | None
    train_size: float
    confusion: list[list[float]]


@dataclass(frozen=True)
class Difference:
    """What one result is above another.

    Attributes:
        mean: of the metric, over the seeds that both sides have: a seed may decide which clips are tested.
        interval: 95 % of the resamples of the test clips, on which both sides are measured; None if there is none.
    """

    mean: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class TrainedSettings:
    """How much is computed where the encoder is trained with its head, which costs hours on a CPU.

    Attributes:
        trials: seeds; draws of train clips, too.
        max_epochs: at most.
        batch_size: clips per step.
        crop_seconds: of a clip, per epoch.
    """

    trials: int
    max_epochs: int
    batch_size: int
    crop_seconds: float


@dataclass(frozen=True)
class Laboratory:
    """Where encoders are evaluated.

    Attributes:
        workshop: that makes the encoders.
        data: folder of the benchmarks.
        trials: of frozen encoders.
        trained: where the encoder is trained, too.
        device: to compute on.
    """

    workshop: Workshop
    data: Path
    trials: int
    trained: TrainedSettings
    device: str = "auto"

    def report(self, task: str, cell: Cell, sizes: Sequence[int] = ()) -> dict[str, Any]:
        """The report of an encoder in a scenario: with all train clips, and with these numbers of them."""
        return evaluated(self, task, cell, tuple(sizes))

    def results(self, task: str, cell: Cell, sizes: Sequence[int] = ()) -> list[Result]:
        """From few train clips to all of them."""
        report = self.report(task, cell, sizes)
        levels = next(iter(report["representations"].values()))
        return [
            Result(
                level["metrics"][report["metric"]]["mean"],
                level["metrics"][report["metric"]]["std"],
                level["train_size"],
                level["confusion"],
            )
            for level in levels
        ]

    def result(self, task: str, cell: Cell) -> Result:
        """With all train clips."""
        return self.results(task, cell)[-1]

    def difference(self, task: str, cell: Cell, other: Cell) -> Difference:
        """What the first is above the second, with all train clips, on the same resamples of the test clips."""
        names = [" ".join(of) for of in (cell, other)]
        tasks, trials = zip(*(self._trials(task, of) for of in (cell, other)), strict=True)
        if tasks[0].clips != tasks[1].clips:
            raise ConfigError(f"{task}: other clips could not be decoded for {names[0]} than for {names[1]}")
        seeds = set.intersection(*({trial.seed for trial in of_one} for of_one in trials))
        same = [[trial for trial in of_one if trial.seed in seeds] for of_one in trials]
        summary = summarise(tasks[0], dict(zip(names, same, strict=True)), baselines=names[1:])
        found = summary["representations"][names[0]][-1]["differences"][names[1]]
        return Difference(found["mean"], tuple(found["interval"]) if found["interval"] else None)

    def classes(self, task: str) -> tuple[str, ...]:
        """Names of a task's classes."""
        return opened(task, self.data).classes

    def settings(self, scenario: Scenario, sizes: Sequence[int]) -> Evaluation:
        """How much is computed."""
        if scenario == "frozen":
            return Evaluation(scenario, trials=self.trials, sizes=tuple(sizes), samplings=self.trials)
        fit = FitSettings(max_epochs=self.trained.max_epochs, batch_size=self.trained.batch_size)
        count, seconds = self.trained.trials, self.trained.crop_seconds
        return Evaluation(scenario, count, sizes=tuple(sizes), samplings=count, fit=fit, crop_seconds=seconds)

    def folder(self, task: str, cell: Cell, sizes: Sequence[int] = ()) -> Path:
        """Of a report."""
        encoder, scenario = cell
        return (
            self.workshop.folder / "reports" / "-".join([task, encoder.replace(" ", "-"), scenario, *map(str, sizes)])
        )

    def _trials(self, task: str, cell: Cell) -> tuple[Task, list[Trial]]:
        """The evaluated encoder's own, with all train clips, and the task without the clips that were skipped."""
        whole = opened(task, self.data)
        skipped = dict(self.report(task, cell)["skipped"][len(whole.skipped) :])
        failures = {n: skipped[str(c.path)] for n, c in enumerate(whole.clips) if str(c.path) in skipped}
        kept = [position for position in range(len(whole.clips)) if position not in failures]
        # 0: baselines have higher numbers; f1: all train clips; then the clips that positions count.
        names = f"0-f1-*-{digest(kept)[:8]}.npz"
        paths = sorted((self.folder(task, cell) / "trials").glob(names))
        return leave_out(whole, failures), [load_trial(path) for path in paths]


@cache
def evaluated(laboratory: Laboratory, task: str, cell: Cell, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Computed at most once; `evaluate` takes what is on disk."""
    encoder, scenario = cell
    return evaluate(
        opened(task, laboratory.data),
        load_encoder(str(laboratory.workshop.model(encoder)), device=laboratory.device),
        laboratory.settings(scenario, sizes),
        laboratory.folder(task, cell, sizes),
        laboratory.workshop.folder / "cache",
    )


@cache
def opened(task: str, data: Path) -> Task:
    """A task, read once."""
    return open_task(task, data)

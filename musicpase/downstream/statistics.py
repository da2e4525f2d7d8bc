"""Trials to statistics: means, deviations, bootstrap intervals, differences to baselines, confusion matrices.

Two kinds of chance are kept apart. The deviation over trials says what seeds (and draws of train clips) change. The
interval says what other test clips would change: groups of test clips are drawn with replacement, every trial of
every representation is measured on the same draws, averaged over trials, and the interval holds 95 % of the averages.
With few test clips per class, resamples are a little too low for F1 (a class may be missing in a draw, and counts as
0) and too high for average precision (a clip drawn twice ranks beside itself); the intervals are not corrected.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicpase.downstream.metrics import confusion, left_out, measure, measure_weighted
from musicpase.downstream.task import Positions, Split, Task
from musicpase.downstream.trial import Trial
from musicpase.errors import ConfigError

__all__ = ["majority_trial", "summarise"]

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)  # of the resamples, which an interval lies between
CHUNK = 100  # resamples measured at once: 8 MB of weights for 10,000 clips
SAME_LEVEL = 1.05  # fractions of train clips this close are one level: a split drawn by seed varies in size

Trials = Mapping[str, Sequence[Trial]]
Floats = NDArray[np.float64]


def majority_trial(task: Task, split: Split, *, seed: int = 0, fraction: float = 1.0, sampling: int = 0) -> Trial:
    """The majority baseline: every test clip is scored with how frequent each class is among the train clips.

    Args:
        task: that was split.
        split: of it, with the train clips that were drawn.
        seed: as the other representations' trial has it, as are fraction and sampling.
        fraction: see there.
        sampling: see there.

    Returns:
        A trial that needed no training. A class of a "multi" task without a known train label has score 0.
    """
    targets = task.targets[split.train]
    if task.kind == "single":
        shares = np.bincount(targets, minlength=len(task.classes)) / len(targets)
    else:
        known = (~np.isnan(targets)).sum(0)
        shares = (targets == 1).sum(0) / np.maximum(known, 1)
    scores = np.tile(shares.astype(np.float32), (len(split.test), 1))
    return Trial(seed, fraction, sampling, len(split.train), split.test, scores, 0, math.nan)


def summarise(
    task: Task,
    trials: Trials,
    baselines: Sequence[str] = ("untrained encoder", "MFCC statistics", "majority class"),
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Statistics of all trials; the same trials give the same numbers.

    Args:
        task: that the trials are of.
        trials: by representation, the one that is evaluated first.
        baselines: representations among these that the others are compared with.
        resamples: of the bootstrap.

    Returns:
        What JSON can hold, None where there is no number (an interval with fewer than two groups of test clips, the
        deviation of a single trial, a class that was not tested): about the task and its test clips; `baselines`;
        `representations`, by name a list of levels, fewest train clips first. A level has

        - `fraction`, `train_size` (means over its trials), `trials`, `epochs` (of each);
        - `metrics`: by name `mean`, `std` (over trials, n - 1), `interval`, `values` (of each trial);
        - `confusion`: row-normalised, averaged over trials: `(classes, classes)`, or `(classes, 2, 2)` of absent and
          present for "multi";
        - `differences`: to each other baseline on this level, `mean` and `interval` of the task's metric.

    Raises:
        ConfigError: there are no trials, one does not fit the task, or the task's metric is not measured.
        ModelError: a score is not finite.
    """
    every = [trial for of_one in trials.values() for trial in of_one]
    if not trials or not all(trials.values()):
        raise ConfigError(f"{task.name}: nothing to summarise: a representation has no trials")
    if task.metric not in measure(task, every[0].test, every[0].scores):
        raise ConfigError(f"{task.name}: its metric {task.metric!r} is none that is measured for it")
    tested = np.unique(np.concatenate([trial.test for trial in every]))
    groups = _group_numbers(task, tested)
    drawn = _draw(task.name, groups[tested].max() + 1, resamples)
    levels = _levels(trial.fraction for trial in every)
    known = [name for name in baselines if name in trials]
    representations: dict[str, list[dict[str, Any]]] = {name: [] for name in trials}
    for level in sorted(set(levels.values())):
        spreads, entries = {}, {}
        for name, of_one in trials.items():
            if here := [trial for trial in of_one if levels[trial.fraction] == level]:
                spreads[name] = _resampled_means(task, here, groups, drawn)
                entries[name] = _describe(task, here, spreads[name])
        for name, entry in entries.items():
            entry["differences"] = {
                other: _difference(task.metric, (entry, entries[other]), (spreads[name], spreads[other]))
                for other in known
                if other in entries and other != name
            }
            representations[name].append(entry)
    return {
        "task": task.name,
        "kind": task.kind,
        "metric": task.metric,
        "classes": list(task.classes),
        "licence": task.licence,
        "reference": dict(task.reference),
        "skipped": [list(pair) for pair in task.skipped],
        "clips": len(task.clips),
        "test": _describe_test(task, tested),
        "resamples": resamples,
        "baselines": known,
        "representations": representations,
    }


def _levels(fractions: Iterable[float]) -> dict[float, int]:
    """Fraction to the number of its level."""
    levels: dict[float, int] = {}
    first = 0.0
    number = -1
    for fraction in sorted(set(fractions)):
        if fraction > SAME_LEVEL * first or fraction == 1.0:
            first, number = fraction, number + 1
        levels[fraction] = number
    return levels


def _group_numbers(task: Task, tested: Positions) -> NDArray[np.intp]:
    """`(clips,)`: the number of each tested clip's group, in the order of the groups' names; -1 for other clips."""
    numbers = np.full(len(task.clips), -1, np.intp)
    numbers[tested] = np.unique([task.clips[position].group for position in tested], return_inverse=True)[1]
    return numbers


def _draw(name: str, groups: int, resamples: int) -> NDArray[np.intp]:
    """`(resamples, groups)`: how often each group is drawn, from the task's name alone. No draws of one group."""
    rng = np.random.default_rng(np.frombuffer(sha256(name.encode()).digest(), np.uint32))
    if groups < 2:
        return np.empty((0, groups), np.intp)
    return np.stack([np.bincount(rng.integers(groups, size=groups), minlength=groups) for _ in range(resamples)])


def _resampled_means(
    task: Task, trials: Sequence[Trial], groups: NDArray[np.intp], drawn: NDArray[np.intp]
) -> dict[str, Floats]:
    """By metric `(resamples,)`: the mean over trials in each resample.

    A trial none of whose test clips were drawn does not count there: splits drawn by seed test on different clips.
    """
    total: dict[str, Floats] = {}
    count: dict[str, Floats] = {}
    for trial in trials:
        of_test = groups[trial.test]
        parts = [
            measure_weighted(task, trial.test, trial.scores, drawn[start : start + CHUNK, of_test])
            for start in range(0, max(len(drawn), 1), CHUNK)
        ]
        for name in parts[0]:
            values = np.concatenate([part[name] for part in parts])
            total[name] = total.get(name, 0.0) + np.nan_to_num(values)
            count[name] = count.get(name, 0.0) + ~np.isnan(values)
    return {name: np.where(count[name] > 0, total[name] / np.maximum(count[name], 1), np.nan) for name in total}


def _describe(task: Task, trials: Sequence[Trial], spread: Mapping[str, Floats]) -> dict[str, Any]:
    measured = [measure(task, trial.test, trial.scores) for trial in trials]
    metrics = {}
    for name in measured[0]:
        values = [of_one[name] for of_one in measured]
        metrics[name] = {
            "mean": _number(np.mean(values)),
            "std": _number(np.std(values, ddof=1)) if len(values) > 1 else None,
            "interval": _interval(spread[name]),
            "values": [_number(value) for value in values],
        }
    return {
        "fraction": float(np.mean([trial.fraction for trial in trials])),
        "train_size": float(np.mean([trial.train_size for trial in trials])),
        "trials": len(trials),
        "epochs": [trial.epochs for trial in trials],
        "metrics": metrics,
        "confusion": _mean_confusion(task, trials),
    }


def _difference(
    metric: str, entries: tuple[dict[str, Any], dict[str, Any]], spreads: tuple[dict[str, Floats], dict[str, Floats]]
) -> dict[str, Any]:
    """Resample by resample: what makes the scores of both go up and down cancels."""
    mean, other = (entry["metrics"][metric]["mean"] for entry in entries)
    return {
        "mean": None if mean is None or other is None else mean - other,
        "interval": _interval(spreads[0][metric] - spreads[1][metric]),
    }


def _mean_confusion(task: Task, trials: Sequence[Trial]) -> list[Any]:
    """Row-normalised, averaged over the trials that test a row's class."""
    counts = np.stack([confusion(task, trial.test, trial.scores) for trial in trials])
    support = counts.sum(-1, keepdims=True)
    shares = (counts / np.maximum(support, 1)).sum(0)
    tested = (support > 0).sum(0)
    mean = np.where(tested > 0, shares / np.maximum(tested, 1), np.nan)
    return [_without_nan(row) for row in mean.tolist()]


def _describe_test(task: Task, tested: Positions) -> dict[str, Any]:
    clips = [task.clips[position] for position in tested]
    names = sorted(f"{clip.path.name} {clip.start_s:g} {clip.label}" for clip in clips)
    return {
        "clips": len(clips),
        "groups": len({clip.group for clip in clips}),
        "sha256": sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest(),
        **left_out(task, tested),
    }


def _interval(values: Floats) -> list[float] | None:
    """None where there are no resamples with a value."""
    values = values[~np.isnan(values)]
    return [float(bound) for bound in np.percentile(values, PERCENTILES)] if len(values) else None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _without_nan(values: Any) -> Any:
    return [_without_nan(value) for value in values] if isinstance(values, list) else _number(values)

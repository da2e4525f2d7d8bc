"""From a representation's vectors to scores: probe, trials, intervals; `frozen_scores.py` says how and why."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from frozen_sets import ScoreSet, Task
from numpy.typing import NDArray

from musicpase.labelled import group_folds
from musicpase.pretrain.linear import Problem, choose_strength, fit_linear, macro_f1

__all__ = ["PROTOCOL", "Predictions", "predict_all", "references", "summaries"]

TRIALS = 10
RESAMPLES = 1000
CHANCE_DRAWS = 100
FOLDS = 5
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # one more than while training: small sets like it large
PROTOCOL = {"strengths": STRENGTHS, "folds": FOLDS, "trials": TRIALS, "resamples": RESAMPLES, "version": 3}
"""What was done; a change of the code that changes numbers raises the version."""

Rows = NDArray[np.float32]
Positions = NDArray[np.intp]
Labels = list[list[int]]
"""For each task the labels predicted for its test clips."""


class Predictions(TypedDict):
    """What a representation's probe says about the test clips."""

    strength: float
    score: Labels  # fitted on all clips of train and valid
    by_strength: list[Labels]  # the same at each strength, which chooses nothing
    trials: list[Labels]  # fitted on resamples of them


def predict_all(one: ScoreSet, rows: Rows) -> Predictions:
    """Choose the strength, fit, predict; `rows` are `(clips, dim)`."""
    strength = choose_strength([problem(one, task, rows) for task in one.tasks], STRENGTHS)
    by_strength = [[predict(rows, task, each, fitted(task)) for task in one.tasks] for each in STRENGTHS]
    return {
        "strength": strength,
        "score": by_strength[STRENGTHS.index(strength)],
        "by_strength": by_strength,
        "trials": [
            [predict(rows, task, strength, redrawn(one, task, trial)) for task in one.tasks]
            for trial in range(TRIALS)
        ],
    }


def fitted(task: Task) -> Positions:
    return np.concatenate([task.train, task.valid])


def problem(one: ScoreSet, task: Task, rows: Rows) -> Problem:
    """What the strength is chosen on: the clips that the probe is fitted on, in folds.

    Not the valid split alone: with a dozen clips of a class in it, what it prefers is chance.
    """
    positions = fitted(task)
    labels, groups = task.labels[positions], [one.clips[position].group for position in positions]
    return Problem(rows[positions], labels, group_folds(labels, groups, FOLDS))


def predict(rows: Rows, task: Task, strength: float, positions: Positions) -> list[int]:
    probe = fit_linear(rows[positions], task.labels[positions], strength)
    return [int(label) for label in probe.predict(rows[task.test])]


def redrawn(one: ScoreSet, task: Task, trial: int) -> Positions:
    """A bootstrap resample of the clips to fit on, within each class; the same for every representation."""
    rng = generator(one, "trial", trial)
    positions = fitted(task)
    labels = task.labels[positions]
    classes = (positions[labels == label] for label in np.unique(labels))
    return np.concatenate([rng.choice(members, len(members)) for members in classes])


def generator(one: ScoreSet, purpose: str, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([*hashlib.sha256(f"{one.name} {purpose}".encode()).digest(), number])


def macro(one: ScoreSet, predicted: Labels) -> float:
    """Macro-F1, the mean over tasks."""
    pairs = zip(one.tasks, predicted, strict=True)
    return float(np.mean([macro_f1(task.labels[task.test], np.array(labels)) for task, labels in pairs]))


def accuracy(one: ScoreSet, predicted: Labels) -> float:
    """Accuracy, the mean over tasks."""
    pairs = zip(one.tasks, predicted, strict=True)
    return float(np.mean([(task.labels[task.test] == np.array(labels)).mean() for task, labels in pairs]))


def resamples(one: ScoreSet) -> Iterator[list[Positions]]:
    """For each bootstrap resample of the test clips, and each task, places in the task's list of test clips."""
    groups = sorted({clip.group for clip in one.clips if clip.split == "test"})
    number = {group: place for place, group in enumerate(groups)}
    group_of = [np.array([number[one.clips[position].group] for position in task.test]) for task in one.tasks]
    rng = generator(one, "resamples")
    for _ in range(RESAMPLES):
        counts = np.bincount(rng.integers(len(groups), size=len(groups)), minlength=len(groups))
        yield [np.repeat(np.arange(len(mine)), counts[mine]) for mine in group_of]


def macro_of_draws(one: ScoreSet, predicted: Labels, draws: Sequence[list[Positions]]) -> NDArray[np.float64]:
    """Macro-F1 of each resample, `(resamples,)`."""
    pairs = [(task.labels[task.test], np.array(labels)) for task, labels in zip(one.tasks, predicted, strict=True)]
    return np.array(
        [
            np.mean([macro_f1(true[d], mine[d]) for (true, mine), d in zip(pairs, draw, strict=True) if len(d)])
            for draw in draws
        ]
    )


def summaries(one: ScoreSet, found: Mapping[str, Sequence[Predictions]], baselines: Sequence[str]) -> dict[str, Any]:
    """The numbers of every representation; those of several members (seeds) are means over them.

    Args:
        one: the set.
        found: for each representation what its members predict.
        baselines: representations that the others are compared with.

    Returns:
        For each representation `macro_f1`, its 95 % `interval`, `accuracy`, mean and deviation of the `trials`, the
        `strengths` chosen, `by_member` the macro-F1 of each, `by_strength` what it would have been at each strength,
        and for each baseline the interval of the difference.
    """
    draws = list(resamples(one))
    curves = {
        name: np.mean([macro_of_draws(one, member["score"], draws) for member in members], axis=0)
        for name, members in found.items()
    }
    return {name: summary(one, name, members, curves, baselines) for name, members in found.items()}


def summary(
    one: ScoreSet,
    name: str,
    members: Sequence[Predictions],
    curves: Mapping[str, NDArray[np.float64]],
    baselines: Sequence[str],
) -> dict[str, Any]:
    scores = [macro(one, member["score"]) for member in members]
    trials = np.mean([[macro(one, labels) for labels in member["trials"]] for member in members], axis=0)
    return {
        "macro_f1": float(np.mean(scores)),
        "interval": interval(curves[name]),
        "accuracy": float(np.mean([accuracy(one, member["score"]) for member in members])),
        "trials": {"mean": float(np.mean(trials)), "std": float(np.std(trials, ddof=1))},
        "strengths": [member["strength"] for member in members],
        "by_member": scores,
        "by_strength": [
            float(np.mean([macro(one, member["by_strength"][place]) for member in members]))
            for place in range(len(STRENGTHS))
        ],
        "ahead_of": {other: interval(curves[name] - curves[other]) for other in baselines if other != name},
    }


def interval(values: NDArray[np.float64]) -> list[float]:
    """The middle 95 %."""
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]


def references(one: ScoreSet) -> dict[str, float]:
    """Macro-F1 of labels drawn at the fitted clips' frequencies; accuracy of their most frequent label."""
    rng = generator(one, "chance")
    chance = [[rng.choice(t.labels[fitted(t)], len(t.test)) for t in one.tasks] for _ in range(CHANCE_DRAWS)]
    majority = [[int(np.bincount(t.labels[fitted(t)]).argmax())] * len(t.test) for t in one.tasks]
    return {
        "chance_macro_f1": float(np.mean([macro(one, labels) for labels in chance])),
        "majority_accuracy": accuracy(one, majority),
    }

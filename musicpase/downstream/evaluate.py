"""One evaluation: a task, an encoder in one of the scenarios, and the baselines, trial by trial into a folder."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from musicpase.baselines import random_encoder
from musicpase.downstream.fitting import FitSettings
from musicpase.downstream.report import write_report
from musicpase.downstream.report_folder import content_digest, digest, open_folder, trial_path
from musicpase.downstream.scenarios import EndToEnd, Scenario, train_end_to_end, try_frozen
from musicpase.downstream.sounds import Sounds, decoders, keep_sounds
from musicpase.downstream.statistics import majority_trial, summarise
from musicpase.downstream.task import Split, Task, leave_out, limit, split_task
from musicpase.downstream.trial import Trial, load_trial, save_trial
from musicpase.downstream.vectors import Representation, Vectors, embed_clips, mean_embedding, mfcc, untrained
from musicpase.errors import AudioError, ConfigError
from musicpase.inference.encoder import Encoder
from musicpase.versions import versions

__all__ = ["Evaluation", "Run", "Stage", "evaluate", "plan"]

UNTRAINED, MFCC, MAJORITY = "untrained encoder", "MFCC statistics", "majority class"

Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Called with what begins and how many steps it has; within the context, told of steps that are done."""

Scores = tuple[NDArray[np.float32], int, float]


@dataclass(frozen=True)
class Evaluation:
    """What is asked for.

    Attributes:
        scenario: of the encoder; baselines are always frozen.
        trials: with all train clips; their seeds are 0, 1, ...: of the head, the order of clips, and of the split
            where the data has none.
        fractions: of the train clips, each tried `samplings` times with other clips.
        sizes: numbers of train clips, tried likewise.
        samplings: see `fractions`.
        fit: how heads are fitted.
        crop_seconds: of crops where the encoder is trained.
    """

    scenario: Scenario = "frozen"
    trials: int = 10
    fractions: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    samplings: int = 4
    fit: FitSettings = field(default_factory=FitSettings)
    crop_seconds: float = 3.0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("trials", self.trials, 1),
            ("samplings", self.samplings, 1),
            ("max-epochs", self.fit.max_epochs, 1),
            ("batch-size", self.fit.batch_size, 1),
            *(("train-size", size, 1) for size in self.sizes),
        ):
            if value < least:
                raise ConfigError(f"--{name} is {value}: it must be at least {least}")
        for fraction in self.fractions:
            if not 0 < fraction < 1:
                raise ConfigError(
                    f"--train-fraction {fraction:g}: it must lie between 0 and 1; all clips are tried anyway"
                )
        for name, values in (("train-fraction", self.fractions), ("train-size", self.sizes)):
            if twice := [value for value, count in Counter(f"{v:g}" for v in values).items() if count > 1]:
                raise ConfigError(f"--{name} {twice[0]} is there twice")
        if not 0.25 <= self.crop_seconds <= 600:
            raise ConfigError(f"--crop-seconds is {self.crop_seconds:g}: it must lie between 0.25 and 600")


class Run(NamedTuple):
    """One trial to make: `size` train clips or, if 0, this fraction of them."""

    seed: int
    fraction: float = 1.0
    size: int = 0
    sampling: int = 0


def plan(evaluation: Evaluation) -> list[Run]:
    """The trials that are asked for, of each representation."""
    draws = range(evaluation.samplings)
    return [
        *(Run(seed) for seed in range(evaluation.trials)),
        *(Run(draw, fraction=fraction, sampling=draw) for fraction in evaluation.fractions for draw in draws),
        *(Run(draw, size=size, sampling=draw) for size in evaluation.sizes for draw in draws),
    ]


def runs_of(task: Task, evaluation: Evaluation) -> list[Run]:
    """The plan, less what repeats another trial: draws of all train clips, a share and a number that are the same.

    Raises:
        ConfigError: the task cannot be split so.
    """
    runs: dict[tuple[int, bytes], Run] = {}
    for run in plan(evaluation):
        train = _split(task, run)[0].train
        if (run.fraction == 1.0 and not run.size) or len(train) < len(split_task(task, run.seed).train):
            runs.setdefault((run.seed, train.tobytes()), run)
    return list(runs.values())


@contextmanager
def silent(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A stage that nobody watches."""
    yield lambda steps: None


def evaluate(
    task: Task,
    encoder: Encoder,
    evaluation: Evaluation,
    folder: Path,
    cache: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    stage: Stage = silent,
) -> dict[str, Any]:
    """Evaluate, or go on with an evaluation that was stopped, and write its report.

    Args:
        task: from `tasks.open_task`.
        encoder: to evaluate. For "supervised" only its shape counts.
        evaluation: how.
        folder: of the report; made if missing.
        cache: folder of frozen vectors and decoded sound, shared by evaluations.
        workers: decoding processes; None for one per core, at most 8.
        overwrite: replace another evaluation's report in the folder.
        stage: for a progress bar.

    Returns:
        The content of `report.json`.

    Raises:
        AudioError: most clips cannot be decoded.
        ConfigError: the task cannot be split so, the encoder cannot be trained on its device or in its precision, or
            the folder holds another evaluation.
        OutputError: a folder cannot be written.
    """
    about = describe(task, encoder, evaluation)
    training = None
    if evaluation.scenario != "frozen":  # better an error now than after hours
        training = EndToEnd(evaluation.fit, evaluation.crop_seconds, encoder.device, encoder.precision)
    runs_of(task, evaluation)
    made_with = {"torch": torch.__version__, **decoders()}
    open_folder(folder, about | {"clips": content_digest(task), "software": made_with}, overwrite=overwrite)
    vectors = frozen_vectors(task, encoder, evaluation, cache, workers, stage)
    sounds = None
    failures = {position: reason for found in vectors.values() for position, reason in found.failures.items()}
    if training is not None:
        with stage("decoding", len(task.clips)) as tell:
            sounds = keep_sounds(task.clips, cache, workers=workers, tell=tell)
        failures |= sounds.failures
    if 2 * len(failures) > len(task.clips):
        position, reason = min(failures.items())
        raise AudioError(
            f"{task.name}: {len(failures)} of {len(task.clips)} clips cannot be used; "
            f"the first is {task.clips[position].path}: {reason}"
        )
    kept = np.array([position for position in range(len(task.clips)) if position not in failures], np.intp)
    task = leave_out(task, failures)
    jobs: dict[str, Callable[[Split, int], Scores]] = {}
    for name, found in vectors.items():
        jobs[name] = _frozen_job(task, found.rows[kept], evaluation.fit)
    if training is not None and sounds is not None:
        job = _trained_job(task, sounds.only(kept), encoder, evaluation.scenario, training, stage)
        jobs = {name_of(encoder, evaluation): job, **jobs}
    runs = runs_of(task, evaluation)
    trials: dict[str, list[Trial]] = {}
    with stage("trials", len(jobs) * len(runs)) as tell:
        for number, (name, job) in enumerate(jobs.items()):
            trials[name] = []
            for run in runs:
                path = trial_path(folder, f"{number}-{_tag(run)}-{digest(kept.tolist())[:8]}")
                trials[name].append(_trial(task, run, job, path))
                tell(1)
    trials[MAJORITY] = [_majority(task, run) for run in runs]
    summary = summarise(task, trials, baselines=(UNTRAINED, MFCC, MAJORITY))
    return write_report(folder, task, summary, about)


def describe(task: Task, encoder: Encoder, evaluation: Evaluation) -> dict[str, Any]:
    """What the report says about how it was made."""
    return {
        "task": task.name,
        "model": encoder.provenance(),
        "evaluation": json.loads(json.dumps(asdict(evaluation))),
        "versions": versions(),
    }


def name_of(encoder: Encoder, evaluation: Evaluation) -> str:
    """How reports name the encoder in its scenario."""
    if evaluation.scenario == "supervised":
        return f"{'PASE+' if encoder.config.qrnn else 'PASE'} (supervised)"
    return f"{encoder.record.name} ({evaluation.scenario})"


def frozen_vectors(
    task: Task, encoder: Encoder, evaluation: Evaluation, cache: Path, workers: int | None, stage: Stage
) -> dict[str, Vectors]:
    """Of the encoder, if it is evaluated frozen, and of the baselines."""
    wanted: dict[str, Representation] = {UNTRAINED: untrained(encoder, 0), MFCC: mfcc()}
    if evaluation.scenario == "frozen":
        wanted = {name_of(encoder, evaluation): mean_embedding(encoder), **wanted}
    found = {}
    for name, representation in wanted.items():
        with stage(name, len(task.clips)) as tell:
            found[name] = embed_clips(task.clips, representation, cache, workers=workers, tell=tell)
    return found


def _frozen_job(task: Task, rows: NDArray[np.float32], fit: FitSettings) -> Callable[[Split, int], Scores]:
    return lambda split, seed: try_frozen(task, rows, split, fit, seed)


def _trained_job(
    task: Task, sounds: Sounds, encoder: Encoder, scenario: Scenario, settings: EndToEnd, stage: Stage
) -> Callable[[Split, int], Scores]:
    def job(split: Split, seed: int) -> Scores:
        module = random_encoder(seed, encoder.config) if scenario == "supervised" else encoder.module_copy()
        most, clips = settings.fit.max_epochs, len(split.train)
        with stage(f"{scenario}, {clips} clips, seed {seed}, {most} epochs at most", most * clips) as tell:
            return train_end_to_end(task, sounds, module, split, settings, seed, tell)

    return job


def _split(task: Task, run: Run) -> tuple[Split, float]:
    split = split_task(task, run.seed)
    if run.size > len(split.train):
        raise ConfigError(f"--train-size {run.size}: {task.name} has {len(split.train)} clips to train on")
    fraction = run.size / len(split.train) if run.size else run.fraction
    return (split if fraction == 1.0 else limit(task, split, fraction, run.sampling)), fraction


def _tag(run: Run) -> str:
    share = f"n{run.size}" if run.size else f"f{run.fraction:g}"
    return f"{share}-{run.sampling}-{run.seed}"


def _trial(task: Task, run: Run, job: Callable[[Split, int], Scores], path: Path) -> Trial:
    """From its file, or made and written there."""
    if path.exists():
        return load_trial(path)
    split, fraction = _split(task, run)
    scores, epochs, loss = job(split, run.seed)
    trial = Trial(run.seed, fraction, run.sampling, len(split.train), split.test, scores, epochs, loss)
    save_trial(path, trial)
    return trial


def _majority(task: Task, run: Run) -> Trial:
    split, fraction = _split(task, run)
    return majority_trial(task, split, seed=run.seed, fraction=fraction, sampling=run.sampling)

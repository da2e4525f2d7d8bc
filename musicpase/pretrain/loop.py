"""Training, from the first crop to the last weight, in the order in which it happens.

    phases      one, or for `reweighted` two: equal weights, then from scratch with the reciprocals
      epochs    crops are drawn anew for each
        steps   crops -> vary -> targets -> distort -> encoder -> workers -> loss -> gradients -> Adam
      then      validate, log, probe, save the weights if they are the best so far, checkpoint

What does not change on the way is `Ground`, what does is `State`.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musicpase.pretrain.allocator import keep_freed_memory
from musicpase.pretrain.augment import distort, vary
from musicpase.pretrain.checkpoint import Position, load_checkpoint, save_checkpoint
from musicpase.pretrain.corpus import Corpus
from musicpase.pretrain.diverged import check_validation, check_weights, explain_loss
from musicpase.pretrain.ground import Ground, augmentation_generator, draw_train, draw_valid, prepare, read_batches
from musicpase.pretrain.progress import Progress
from musicpase.pretrain.recipe import Recipe
from musicpase.pretrain.run import save_model
from musicpase.pretrain.schedule import learning_rate
from musicpase.pretrain.state import State, begin_phase, plan, restore, tensors_of, update_average
from musicpase.pretrain.team import Team
from musicpase.pretrain.weighting import reciprocal_weights

__all__ = ["train"]


def train(
    recipe: Recipe, corpus: Corpus, folder: Path, team: Team, *, labels: Path | None = None, progress: bool = False
) -> None:
    """Train, from wherever the folder's checkpoint stands.

    Args:
        recipe: what to do.
        corpus: what to learn from.
        folder: of the run, from `open_run`; gets `model/`, `checkpoint.pt`, `log.csv`, `probe.csv`, `tensorboard/`.
        team: the processes that train together.
        labels: the `labels.csv` to probe on, from `locate_probe`; None for no probe.
        progress: show it on stderr.

    Raises:
        ConfigError: corpus and recipe do not fit, or the loss is no longer finite; the message names the step, the
            worker and the crop.
        OutputError: the folder cannot be written.
    """
    keep_freed_memory()
    ground, phases = prepare(recipe, corpus, folder, team, labels=labels, progress=progress), plan(recipe)
    position, tensors = load_checkpoint(folder) or (Position(), None)
    if ground.log is not None:
        ground.log.rewind([phase.name for phase in phases[: position.phase + 1]], steps_done(ground, position))
    if ground.monitor is not None:
        ground.monitor.baselines(team.device)
    for phase in phases[position.phase :]:
        state = begin_phase(ground, phase, position)
        if tensors is not None:
            restore(state, tensors)
            tensors = None
        train_phase(ground, state)
        position = Position(position.phase + 1)
        if position.phase < len(phases):
            position.weights = reciprocal_weights(state.position.validations)
    if ground.log is not None:
        ground.log.close()
    team.wait()


def train_phase(ground: Ground, state: State) -> None:
    """Train to the end of the phase, or until patience is."""
    position, patience = state.position, ground.recipe.training.patience
    while position.epoch < state.phase.epochs and not (patience and position.epochs_since_best >= patience):
        progress = Progress(
            f"{state.phase.name} {position.epoch + 1}/{state.phase.epochs}",
            state.phase.epochs * ground.steps,
            steps_done(ground, position),
            ground.recipe.training.batch_size,
            ground.recipe.data.crop_seconds,
            shown=ground.progress and ground.team.leads,
        )
        train_epoch(ground, state, progress)
        finish_epoch(ground, state, progress)


def train_epoch(ground: Ground, state: State, progress: Progress) -> None:
    """Take the steps of the epoch that are not done yet."""
    position, team = state.position, ground.team
    state.model.train()
    batches = read_batches(ground, ground.train_crops, draw_train(ground, position), position.batch)
    for crops, waveform in state.watch.each("crops", batches):
        losses = train_step(ground, state, crops, waveform.to(team.device, non_blocking=True))
        for name, loss in team.mean(losses).items():
            position.sums[name] = position.sums.get(name, 0.0) + loss
        position.batch += 1
        progress.step(state.watch.shares())
        if position.batch % ground.recipe.training.checkpoint_steps == 0 and position.batch < ground.steps:
            check_weights(state.model, where(ground, state), ground.folder)
            save_state(ground, state)


def train_step(ground: Ground, state: State, crops: NDArray[np.int64], waveform: Tensor) -> dict[str, Tensor]:
    """One step of the optimisation.

    Args:
        ground: of the run.
        state: of the phase.
        crops: `(share, 2)`, this process's of the batch.
        waveform: `(share, samples)`, theirs.

    Returns:
        The loss of each worker's name, before the step.
    """
    settings, augmentation, position = ground.recipe.training, ground.recipe.augmentation, state.position
    rate = learning_rate(steps_done(ground, position), state.phase.epochs * ground.steps, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    with state.watch("targets"):
        generator = augmentation_generator(ground, position)
        waveform = vary(waveform, augmentation, generator)
        targets = ground.targets(waveform)
        heard = distort(waveform, augmentation, generator)
    with state.watch("forward"):
        total: Tensor
        losses: dict[str, Tensor]
        total, losses = state.wrapped(heard, targets)
    if not torch.isfinite(total):
        names = [ground.train_crops.describe(crop) for crop in crops]
        raise explain_loss(state.model, heard, targets, losses, names, where(ground, state), ground.folder)
    with state.watch("backward"):
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(state.scaler.scale(total))
    with state.watch("update"):
        if settings.clip_norm:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.average is not None:
            update_average(state.average, state.model, settings.ema)
    return losses


def finish_epoch(ground: Ground, state: State, progress: Progress) -> None:
    """Validate, log, probe, save the weights if they are the best so far, checkpoint."""
    position, phase = state.position, state.phase.name
    check_weights(state.model, where(ground, state), ground.folder)
    train_losses = {name: total / ground.steps for name, total in position.sums.items()}
    model = state.average or state.model
    valid_losses = validate(ground, model)
    check_validation(valid_losses, where(ground, state), ground.folder)
    weighting = state.model.weighting
    total = weighting.objective(valid_losses)
    progress.finish(weighting.objective(train_losses), total, state.watch.shares())
    position.validations.append(valid_losses)
    position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
    best = position.best is None or total < position.best
    position.epochs_since_best = 0 if best else position.epochs_since_best + 1
    position.best = total if best else position.best
    step = steps_done(ground, position)
    if ground.log is not None:
        for split, losses in (("train", train_losses), ("valid", valid_losses)):
            ground.log.losses(phase, position.epoch, step, split, losses, weighting.current())
    if ground.monitor is not None:
        ground.monitor.epoch(phase, position.epoch, step, model.encoder)
    if best and ground.team.leads:
        save_model(ground.folder, model)
    save_state(ground, state)


@torch.no_grad()
def validate(ground: Ground, model: nn.Module) -> dict[str, float]:
    """Mean loss of each worker's name over the validation crops, as they are."""
    ground.team.align(model)
    model.eval()
    parts = []
    for _, waveform in read_batches(ground, ground.valid_crops, draw_valid(ground)):
        clean = waveform.to(ground.team.device)
        _, losses = model(clean, ground.targets(clean))
        parts.append(losses)
    return ground.team.mean({name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]})


def save_state(ground: Ground, state: State) -> None:
    """Write the checkpoint."""
    if ground.team.leads:
        save_checkpoint(ground.folder, state.position, tensors_of(state))


def steps_done(ground: Ground, position: Position) -> int:
    """Steps of this phase that are done: the number of the next one, counted from 0."""
    return position.epoch * ground.steps + position.batch


def where(ground: Ground, state: State) -> str:
    """The same for a message."""
    return f"step {steps_done(ground, state.position)} of phase {state.phase.name!r}"

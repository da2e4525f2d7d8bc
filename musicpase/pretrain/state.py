"""What changes while a phase trains: how it begins, and what of it a checkpoint keeps."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from musicpase.pretrain.checkpoint import Position
from musicpase.pretrain.ground import Ground
from musicpase.pretrain.model import Pretraining, build_model
from musicpase.pretrain.recipe import Recipe
from musicpase.pretrain.run import START
from musicpase.pretrain.stopwatch import Stopwatch
from musicpase.pretrain.weighting import FixedWeights, UncertaintyWeights, Weighting, equal_weights

__all__ = ["Phase", "State", "begin_phase", "plan", "restore", "tensors_of", "update_average"]


@dataclass(frozen=True)
class Phase:
    """One training from the initial weights."""

    name: str
    epochs: int


@dataclass
class State:
    """A phase under way."""

    phase: Phase
    position: Position
    model: Pretraining
    wrapped: nn.Module
    """The model as it is called in training: its gradients are averaged over the team."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: Pretraining | None
    """The averaged weights, if the recipe asks for them."""
    watch: Stopwatch


def plan(recipe: Recipe) -> list[Phase]:
    """The phases of a run: one, or for `reweighted` two."""
    last = Phase(recipe.weighting.mode, recipe.training.epochs)
    if recipe.weighting.mode == "reweighted":
        return [Phase("equal", recipe.weighting.equal_epochs), last]
    return [last]


def begin_phase(ground: Ground, phase: Phase, position: Position) -> State:
    """Model and optimiser as they are before the first step; every phase starts from the same weights."""
    settings, team = ground.recipe.training, ground.team
    weighting: Weighting
    if phase.name == "uncertainty":
        weighting = UncertaintyWeights(ground.workers)
    else:
        weighting = FixedWeights(position.weights or equal_weights(ground.workers))
    start = ground.folder / START if ground.recipe.model.start else None
    model = build_model(ground.recipe, weighting, ground.statistics, start).to(team.device)
    wrapped = team.wrap(model)
    optimizer = torch.optim.AdamW(
        list(model.parameters()), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    scaler = torch.amp.GradScaler(team.device.type, enabled=settings.precision == "fp16")
    average = copy.deepcopy(model) if settings.ema else None
    return State(phase, position, model, wrapped, optimizer, scaler, average, Stopwatch(team.device))


def tensors_of(state: State) -> dict[str, Any]:
    """State dicts of everything but the position."""
    return {
        "model": state.model.state_dict(),
        "average": {} if state.average is None else state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }


def restore(state: State, tensors: Mapping[str, Any]) -> None:
    """Take up where `tensors_of` was taken."""
    state.model.load_state_dict(tensors["model"])
    if state.average is not None:
        state.average.load_state_dict(tensors["average"])
    state.optimizer.load_state_dict(tensors["optimizer"])
    state.scaler.load_state_dict(tensors["scaler"])


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move averaged weights towards the model's: `average = decay * average + (1 - decay) * model`."""
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if value.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)

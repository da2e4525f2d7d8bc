"""The learning rate, as a pure function of the step."""

import math
from dataclasses import replace

from musicpase.pretrain.recipe import Recipe, TrainingRecipe

__all__ = ["learning_rate", "prolongs"]


def learning_rate(step: int, steps: int, recipe: TrainingRecipe) -> float:
    """Rate of one step.

    Args:
        step: counted from 0 over the phase.
        steps: of the whole phase.
        recipe: rate at its highest, warm-up, shape and cycles.

    Returns:
        It rises in a line over the warm-up, then stays, or falls as half a cosine to 0 at the end of the cycle: the
        phase, or the share of it after which all this begins again (warm restarts, Loshchilov & Hutter 2017,
        arXiv 1608.03983).
    """
    length = math.ceil(steps / recipe.cycles)
    cycle = min(step // length, recipe.cycles - 1)
    return _within_cycle(step - cycle * length, length, recipe)


def _within_cycle(step: int, steps: int, recipe: TrainingRecipe) -> float:
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    if recipe.schedule == "constant":
        return recipe.learning_rate
    done = (step - recipe.warmup_steps) / max(1, steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def prolongs(longer: Recipe, shorter: Recipe) -> bool:
    """Whether one recipe only adds epochs to the other: all rates up to there are the same."""
    after, before = longer.training, shorter.training
    as_short = replace(after, epochs=before.epochs, cycles=before.cycles)
    if replace(longer, training=as_short) != shorter or after.epochs <= before.epochs:
        return False
    if after.cycles == before.cycles == 1 and after.schedule == "constant":
        return True
    reweighted = longer.weighting.mode == "reweighted"  # its first phase would get the cycles but not the epochs
    return not reweighted and after.epochs * before.cycles == before.epochs * after.cycles

"""The learning rate as a function of the step."""

import math
from itertools import pairwise
from typing import Any

import pytest

from musicpase.pretrain.recipe import Recipe, TrainingRecipe, build_recipe
from musicpase.pretrain.schedule import learning_rate, prolongs


def rates(steps: int, **settings: Any) -> list[float]:
    recipe = TrainingRecipe(learning_rate=0.5, **settings)
    return [learning_rate(step, steps, recipe) for step in range(steps)]


def test_constant() -> None:
    assert rates(7) == [0.5] * 7


def test_warm_up_rises_in_a_line_to_the_full_rate() -> None:
    assert rates(8, warmup_steps=5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5])
    assert rates(3, warmup_steps=5) == pytest.approx([0.1, 0.2, 0.3])


def test_cosine_falls_to_nothing() -> None:
    found = rates(100, schedule="cosine")
    assert found == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 100)) for step in range(100)])
    assert found[0] == 0.5
    assert found[50] == pytest.approx(0.25)
    assert 0 < found[99] < 0.5 * 0.001
    recipe = TrainingRecipe(learning_rate=0.5, schedule="cosine")
    assert learning_rate(100, 100, recipe) == learning_rate(101, 100, recipe) == 0.0


def test_there_is_no_jump() -> None:
    found = rates(1000, warmup_steps=100, schedule="cosine")
    assert max(abs(b - a) for a, b in pairwise(found)) < 0.5 / 99
    assert found[99] == found[100] == 0.5 == max(found)
    assert all(b < a for a, b in pairwise(found[100:]))


def test_it_depends_on_the_step_alone() -> None:
    recipe = TrainingRecipe(warmup_steps=3, schedule="cosine")
    forwards = [learning_rate(step, 20, recipe) for step in range(20)]
    backwards = [learning_rate(step, 20, recipe) for step in reversed(range(20))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_cycle_is_the_schedule_of_a_shorter_phase(schedule: str) -> None:
    once = rates(40, warmup_steps=4, schedule=schedule)
    assert rates(120, warmup_steps=4, schedule=schedule, cycles=3) == once * 3


def test_cycles_that_do_not_divide_the_phase_end_with_a_short_one() -> None:
    found = rates(10, schedule="cosine", cycles=3)
    assert found[:4] == found[4:8] == rates(4, schedule="cosine")
    assert found[8:] == found[:2]


def test_the_rate_stays_at_nothing_after_the_last_cycle() -> None:
    recipe = TrainingRecipe(schedule="cosine", cycles=2)
    assert learning_rate(100, 100, recipe) == learning_rate(101, 100, recipe) == 0.0


def recipe_of(epochs: int, cycles: int = 1, schedule: str = "cosine", mode: str = "equal", **more: Any) -> Recipe:
    training = {"epochs": epochs, "cycles": cycles, "schedule": schedule, "warmup_steps": 3, **more}
    return build_recipe({"training": training, "weighting": {"mode": mode}})


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [
        (recipe_of(14, 2), recipe_of(7)),
        (recipe_of(10, 4), recipe_of(5, 2)),
        (recipe_of(14, 2, "constant"), recipe_of(7, 1, "constant")),
        (recipe_of(9, 1, "constant"), recipe_of(7, 1, "constant")),
        (recipe_of(9, 1, "constant", "reweighted"), recipe_of(7, 1, "constant", "reweighted")),
    ],
)
def test_a_recipe_that_only_adds_epochs_has_the_rates_of_the_shorter_one(longer: Recipe, shorter: Recipe) -> None:
    assert prolongs(longer, shorter)
    assert not prolongs(shorter, longer)
    begun = [learning_rate(step, longer.training.epochs * 5, longer.training) for step in range(7 * 5)]
    whole = [learning_rate(step, shorter.training.epochs * 5, shorter.training) for step in range(7 * 5)]
    steps = shorter.training.epochs * 5
    assert begun[:steps] == whole[:steps]


@pytest.mark.parametrize(
    ("other", "shorter"),
    [
        (recipe_of(7), recipe_of(7)),
        (recipe_of(14), recipe_of(7)),  # the rate would have fallen more slowly
        (recipe_of(14, 3), recipe_of(7)),
        (recipe_of(14, 2, "constant"), recipe_of(7)),
        (recipe_of(14, 2, seed=1), recipe_of(7)),
        (recipe_of(14, 2, mode="uncertainty"), recipe_of(7)),
        (recipe_of(14, 2, mode="reweighted"), recipe_of(7, mode="reweighted")),  # its first phase would have cycles
        (recipe_of(9, 2, "constant"), recipe_of(7, 1, "constant")),  # the warm-up comes again
    ],
)
def test_any_other_recipe_does_not(other: Recipe, shorter: Recipe) -> None:
    assert not prolongs(other, shorter)

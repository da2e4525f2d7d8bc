"""The forms of the paper's figures: points with bars, improvement bars, confusion differences, curves over sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .results import Result

__all__ = ["draw_bars", "draw_difference", "draw_points", "draw_sizes"]

COLOURS = ("#1f3b70", "#e07020", "#2a8a4a", "#8a2a6a")
MARKERS = ("o", "s", "^", "D")


def draw_points(panels: Mapping[str, Mapping[tuple[str, str], Result]], hollow: Sequence[str]) -> Figure:
    """Points with bars of one deviation: a panel per task, a place per encoder, a marker per scenario.

    Args:
        panels: for each task the result of each (encoder, scenario).
        hollow: scenarios whose markers are open.
    """
    figure, axes_of = new_figure(len(panels), 3.4)
    for axes, (task, results) in zip(axes_of, panels.items(), strict=True):
        encoders = list(dict.fromkeys(encoder for encoder, _ in results))
        scenarios = list(dict.fromkeys(scenario for _, scenario in results))
        for (encoder, scenario), result in results.items():
            number = scenarios.index(scenario)
            x = encoders.index(encoder) + 0.15 * (number - (len(scenarios) - 1) / 2)
            colour = COLOURS[number]
            axes.errorbar(
                x,
                result.mean,
                yerr=result.std or 0.0,
                fmt=MARKERS[number],
                color=colour,
                markerfacecolor="white" if scenario in hollow else colour,
                capsize=3,
                label=scenario if encoder == encoders[0] else None,
            )
        axes.set_xticks(range(len(encoders)), encoders, fontsize=8)
        axes.set_xlim(-0.5, len(encoders) - 0.5)
        finish(axes, task, "macro-F1")
    figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


def draw_bars(changes: Mapping[str, Mapping[str, float]]) -> Figure:
    """Bars of relative improvements [%]: a group per task, a bar per encoder."""
    figure, (axes,) = new_figure(1, 6.0)
    names = list(next(iter(changes.values())))
    for number, name in enumerate(names):
        x = np.arange(len(changes)) + 0.8 * (number - (len(names) - 1) / 2) / len(names)
        heights = [100 * of_task[name] for of_task in changes.values()]
        axes.bar(x, heights, 0.8 / len(names), color=COLOURS[number], label=name)
    axes.set_xticks(range(len(changes)), list(changes), fontsize=8)
    axes.axhline(0, color="black", lw=0.8)
    axes.legend(fontsize=8)
    finish(axes, "", "relative improvement [%]")
    return figure


def draw_difference(classes: Sequence[str], first: Result, second: Result, title: str) -> Figure:
    """Row-normalised confusion of the second minus that of the first, in percentage points."""
    difference = 100 * (np.array(second.confusion, float) - np.array(first.confusion, float))
    size = 1.6 + 0.42 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes: Axes = figure.subplots()
    largest = max(1.0, float(np.abs(difference).max()))
    image = axes.imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
    for row, column in np.ndindex(*difference.shape):
        shade = "white" if abs(difference[row, column]) > 0.6 * largest else "black"
        axes.text(column, row, f"{difference[row, column]:+.0f}", ha="center", va="center", fontsize=6, color=shade)
    axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_sizes(panels: Mapping[str, Mapping[str, Sequence[Result]]]) -> Figure:
    """The metric over the number of train clips: a panel per task, a line per scenario."""
    figure, axes_of = new_figure(len(panels), 3.6)
    for axes, (task, lines) in zip(axes_of, panels.items(), strict=True):
        for number, (name, results) in enumerate(lines.items()):
            sizes, means = [r.train_size for r in results], [r.mean for r in results]
            axes.errorbar(
                *(sizes, means),
                yerr=[r.std or 0.0 for r in results],
                fmt=f"{MARKERS[number]}-",
                color=COLOURS[number],
                capsize=3,
                label=name,
            )
        axes.set_xscale("log")
        every = sorted({result.train_size for results in lines.values() for result in results})
        axes.set_xticks(every, [f"{size:.0f}" for size in every])
        axes.minorticks_off()
        axes.set_xlabel("train clips", fontsize=8)
        finish(axes, task, "macro-F1")
    figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


def new_figure(panels: int, width: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width * panels, 3.2), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0].tolist()


def finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", lw=0.3)

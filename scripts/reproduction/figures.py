"""What each figure compares, what the paper says of it, and whether that held here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from musicpase.downstream.report import table
from musicpase.downstream.scenarios import SCENARIOS
from musicpase.pretrain.curves import draw_run

from .drawings import draw_bars, draw_difference, draw_points, draw_sizes
from .results import TASKS, Cell, Difference, Laboratory, Result

__all__ = ["FIGURES", "Claim", "Drawn"]

SIZES = (20, 50, 100, 200)  # of train clips in fig8; then all
NEW_WORKERS = {"PASE+ WLPMC": "with chroma", "PASE+ WLPMT": "with tempogram", "PASE+": "with both"}
Panels = Mapping[str, Mapping[Cell, Result]]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the comparisons here that bear on it.

    Attributes:
        text: what the paper finds, in our words.
        held: for each comparison, named, the difference that should be above 0.
    """

    text: str
    held: Mapping[str, Difference]

    @property
    def verdict(self) -> str:
        """What the comparisons say together, and how many of them say it.

        Only those count for the first word that are clear: their interval excludes 0.
        """
        above = [d for d in self.held.values() if d.mean > 0]
        below = [d for d in self.held.values() if d.mean < 0]
        clear_above = sum(d.interval is not None and d.interval[0] > 0 for d in above)
        clear_below = sum(d.interval is not None and d.interval[1] < 0 for d in below)
        words = {(True, False): "held", (False, True): "did not hold", (True, True): "held in part"}
        word = words.get((clear_above > 0, clear_below > 0), "undecided")
        return (
            f"{word}: of {len(self.held)} comparisons {len(above)} speak for it ({clear_above} clearly), "
            f"{len(below)} against it ({clear_below} clearly)"
        )


@dataclass(frozen=True)
class Drawn:
    """A figure and what it says.

    Attributes:
        figure: to save.
        claims: of the paper.
        numbers: Markdown tables.
    """

    figure: Figure
    claims: Sequence[Claim]
    numbers: str


def fig2(laboratory: Laboratory) -> Drawn:
    """PASE and PASE+ in the three scenarios."""
    encoders = ("PASE", "PASE+")
    panels = results(laboratory, [(e, s) for e in encoders for s in SCENARIOS])
    architecture = compare(laboratory, [((encoders[1], s), (encoders[0], s)) for s in SCENARIOS])
    scratch = compare(
        laboratory, [((e, s), (e, "supervised")) for e in encoders for s in SCENARIOS if s != "supervised"]
    )
    claims = [
        Claim("PASE+ is ahead of PASE", architecture),
        Claim("pre-training is ahead of training from scratch", scratch),
    ]
    return Drawn(draw_points(panels, hollow=("supervised",)), claims, tables(panels, claims))


def fig3(laboratory: Laboratory) -> Drawn:
    """Equal weights and re-weighted ones."""
    equal, reweighted = "PASE+", "PASE+ re-weighted"
    trained = [s for s in SCENARIOS if s != "supervised"]
    panels = results(laboratory, [(e, s) for e in (equal, reweighted) for s in trained])
    differences = compare(laboratory, [((reweighted, s), (equal, s)) for s in trained])
    claims = [Claim("re-weighted losses are ahead of equal ones", differences)]
    return Drawn(draw_points(panels, hollow=()), claims, tables(panels, claims))


def fig4(laboratory: Laboratory) -> Drawn:
    """The losses of the workers, by epoch, with both weightings."""
    workshop = laboratory.workshop
    workshop.model("PASE+ re-weighted")
    return Drawn(draw_run(workshop.run("PASE+ re-weighted")), [], "")


def fig5(laboratory: Laboratory) -> Drawn:
    """What the music-specific workers add to the four that speech has."""
    few = "PASE+ WLPM"
    panels = results(laboratory, [(e, "frozen") for e in (few, *NEW_WORKERS)])
    changes = {
        title: {label: r[e, "frozen"].mean / r[few, "frozen"].mean - 1 for e, label in NEW_WORKERS.items()}
        for title, r in panels.items()
    }
    dance = TASKS["extended-ballroom"]
    on_dance = compare(laboratory, [(("PASE+ WLPMT", "frozen"), (few, "frozen"))], ["extended-ballroom"])
    others = {
        f"relative change on {dance} than on {title}": Difference(
            changes[dance]["with tempogram"] - change["with tempogram"]
        )
        for title, change in changes.items()
        if title != dance
    }
    best = compare(laboratory, [(("PASE+", "frozen"), (e, "frozen")) for e in (few, "PASE+ WLPMC", "PASE+ WLPMT")])
    claims = [
        Claim("the tempogram helps dance most", {**on_dance, **others}),
        Claim("all workers together are best", best),
    ]
    return Drawn(draw_bars(changes), claims, tables(panels, claims))


def fig6(laboratory: Laboratory) -> Drawn:
    """Where the tempogram changes the confusions of dances."""
    claim = "with the tempogram more dances are recognised"
    return confusion(laboratory, "extended-ballroom", "PASE+ WLPMT", "PASE+ WLPM", claim)


def fig7(laboratory: Laboratory) -> Drawn:
    """Where all six workers change the confusions of genres, against the four that speech has."""
    claim = "with all six workers more genres are recognised"
    return confusion(laboratory, "fma-small", "PASE+", "PASE+ WLPM", claim)


def confusion(laboratory: Laboratory, task: str, more: str, fewer: str, claim: str) -> Drawn:
    """Of the frozen encoders."""
    after, before = (laboratory.result(task, (encoder, "frozen")) for encoder in (more, fewer))
    classes = laboratory.classes(task)
    figure = draw_difference(classes, before, after, f"{TASKS[task]}: {more} minus {fewer} [points]")
    claims = [Claim(claim, compare(laboratory, [((more, "frozen"), (fewer, "frozen"))], [task]))]
    recalls = [
        [name, *(f"{result.confusion[n][n]:.3f}" for result in (before, after))] for n, name in enumerate(classes)
    ]
    numbers = f"{comparisons(claims)}\n\n{table(['recall of', fewer, more], recalls)}\n"
    return Drawn(figure, claims, numbers)


def fig8(laboratory: Laboratory) -> Drawn:
    """Fewer labels: from scratch, frozen, fine-tuned."""
    task = "fma-small"
    lines = {s: laboratory.results(task, ("PASE+", s), SIZES) for s in SCENARIOS}
    frozen, tuned = lines["frozen"], lines["fine-tuned"]
    few, many = f"{frozen[0].train_size:.0f}", f"{frozen[-1].train_size:.0f}"
    with_all = compare(laboratory, [(("PASE+", "fine-tuned"), ("PASE+", "frozen"))], [task])
    ahead = {
        f"frozen above fine-tuned with {few} clips": Difference(frozen[0].mean - tuned[0].mean),
        **{f"{name} with {many} clips": difference for name, difference in with_all.items()},
    }
    claims = [Claim("fine-tuning overtakes the frozen encoder as labels grow more", ahead)]
    sizes = [f"{result.train_size:.0f}" for result in frozen]
    rows = [[s, *map(shown, results)] for s, results in lines.items()]
    numbers = f"{table(['train clips', *sizes], rows)}\n\n{comparisons(claims)}\n"
    return Drawn(draw_sizes({TASKS[task]: lines}), claims, numbers)


def results(laboratory: Laboratory, cells: Sequence[Cell]) -> Panels:
    """Of each cell, by the task's title."""
    return {title: {cell: laboratory.result(task, cell) for cell in cells} for task, title in TASKS.items()}


def compare(
    laboratory: Laboratory, pairs: Sequence[tuple[Cell, Cell]], tasks: Sequence[str] = tuple(TASKS)
) -> dict[str, Difference]:
    """What the first of each pair is above the second, on each task, by a name that says it."""
    return {
        f"{TASKS[task]}: {' '.join(cell)} above {' '.join(other)}": laboratory.difference(task, cell, other)
        for task in tasks
        for cell, other in pairs
    }


def tables(panels: Panels, claims: Sequence[Claim]) -> str:
    """Means and deviations, a line per encoder and scenario, a column per task; then the comparisons."""
    rows = [[*cell, *(shown(of_task[cell]) for of_task in panels.values())] for cell in next(iter(panels.values()))]
    return f"{table(['encoder', 'scenario', *panels], rows)}\n\n{comparisons(claims)}\n"


def shown(result: Result) -> str:
    """Mean and deviation; a single trial has none."""
    return f"{result.mean:.3f}" + ("" if result.std is None else f" ± {result.std:.3f}")


def comparisons(claims: Sequence[Claim]) -> str:
    """Each difference, with its interval where it has one."""
    rows = [
        [name, f"{d.mean:+.3f}" + ("" if d.interval is None else f" [{d.interval[0]:+.3f}, {d.interval[1]:+.3f}]")]
        for claim in claims
        for name, d in claim.held.items()
    ]
    return table(["comparison", "difference [95 % interval]"], rows)


FIGURES: Mapping[str, Callable[[Laboratory], Drawn]] = {
    function.__name__: function for function in (fig2, fig3, fig4, fig5, fig6, fig7, fig8)
}

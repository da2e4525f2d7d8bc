"""The paper's figures: what a verdict says, what is compared, what the budget guards."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from musicpase.errors import ConfigError

ROOT = Path(__file__).parents[2]
DANCES = ("Chacha", "Foxtrot", "Jive", "Quickstep", "Rumba", "Samba", "Tango", "Viennesewaltz", "Waltz")
RATE = 16_000


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "reproduction"]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"reproduction.{name}")


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([(0.1, (0.05, 0.2)), (0.2, (-0.1, 0.3))], "held: of 2 comparisons 2 speak for it (1 clearly), 0 against"),
        ([(0.1, (0.05, 0.2)), (-0.2, (-0.3, -0.1))], "held in part: of 2 comparisons 1 speak for it (1 clearly), 1"),
        (
            [(0.1, (0.05, 0.2)), (-0.2, (-0.3, 0.1))],
            "held: of 2 comparisons 1 speak for it (1 clearly), 1 against",
        ),
        ([(-0.1, (-0.2, -0.05)), (0.2, (-0.1, 0.3))], "did not hold: of 2 comparisons 1 speak for it (0 clearly), 1"),
        ([(0.1, (-0.05, 0.2)), (0.2, None)], "undecided: of 2 comparisons 2 speak for it (0 clearly), 0 against"),
        ([(0.0, (0.0, 0.0))], "undecided: of 1 comparisons 0 speak for it (0 clearly), 0 against it (0 clearly)"),
    ],
)
def test_a_verdict_wants_an_interval_that_excludes_0(scripts: None, differences: list[Any], verdict: str) -> None:
    difference = module("results").Difference
    claim = module("figures").Claim("t", {str(n): difference(*values) for n, values in enumerate(differences)})
    assert claim.verdict.startswith(verdict)


def test_a_folder_of_another_budget_is_refused(scripts: None, tmp_path: Path) -> None:
    (tmp_path / "budget.json").write_text(json.dumps({"minutes": 5, "crops_per_minute": 200.5}))
    workshop = module("encoders").Workshop
    assert workshop(tmp_path, tmp_path, tmp_path, 5.0).crops() == 1002
    with pytest.raises(ConfigError, match="has encoders of 5 minutes each: use --budget 5, or another --work"):
        workshop(tmp_path, tmp_path, tmp_path, 6.0).crops()


def write_ballroom(folder: Path) -> Path:
    """Nine dances, twelve songs of a second each; a dance is a pitch, and noise."""
    lines = ["<dataset>"]
    random = np.random.default_rng(0)
    for number, dance in enumerate(DANCES):
        (folder / dance).mkdir(parents=True)
        lines.append(f"<{dance}>")
        for song in range(12):
            name = f"{100 * number + song + 100_000}"
            tone = 0.2 * np.sin(2 * np.pi * (300 + 200 * number) * np.arange(RATE) / RATE)
            soundfile.write(folder / dance / f"{name}.mp3", tone + random.normal(0, 0.1, RATE), RATE)
            lines.append(f'<song artist="{name}" title="{name}" id="{name}"/>')
        lines.append(f"</{dance}>")
    (folder / "extendedballroom_v1.1.xml").write_text("\n".join([*lines, "</dataset>"]))
    return folder


def test_differences_are_those_of_the_reports(scripts: None, tmp_path: Path, tiny: Path) -> None:
    """Of two encoders and of two scenarios, on the same test clips; what was computed is not computed again."""
    results, encoders = module("results"), module("encoders")

    class Made(encoders.Workshop):  # type: ignore[misc, name-defined]
        def model(self, name: str) -> Path:
            return tiny

    write_ballroom(tmp_path / "data" / "extended-ballroom")
    workshop = Made(tmp_path / "work", tmp_path, tmp_path, 1.0)
    laboratory = results.Laboratory(
        workshop, tmp_path / "data", 2, results.TrainedSettings(1, 2, 32, 0.5), device="cpu"
    )
    cells = [("PASE+", "frozen"), ("PASE", "frozen"), ("PASE+", "supervised")]
    frozen, same, scratch = (laboratory.result("extended-ballroom", cell) for cell in cells)
    assert len(frozen.confusion) == len(laboratory.classes("extended-ballroom")) == 9
    assert laboratory.difference("extended-ballroom", cells[0], cells[1]) == results.Difference(0.0, (0.0, 0.0))
    found = laboratory.difference("extended-ballroom", cells[0], cells[2])
    levels = next(iter(laboratory.report("extended-ballroom", cells[0])["representations"].values()))
    first = levels[-1]["metrics"]["macro_f1"]["values"][
        0
    ]  # the seed that both have, and so the clips that both are tested on
    assert found.mean == pytest.approx(first - scratch.mean) and frozen.mean == same.mean
    assert found.interval[0] <= found.mean <= found.interval[1]
    reports = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "reports").rglob("*.npz")}
    results.evaluated.cache_clear()
    assert laboratory.result("extended-ballroom", cells[2]) == scratch
    assert {path: path.stat().st_mtime_ns for path in reports} == reports
    figure = module("figures").confusion(laboratory, "extended-ballroom", "PASE+", "PASE", "more dances")
    assert figure.claims[0].verdict.startswith("undecided") and "| Chacha |" in figure.numbers

"""The encoders that the figures compare, each pre-trained with the same budget."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from variants import Sections, merged, train

from musicpase.errors import ConfigError
from musicpase.pretrain.recipe import tomllib

__all__ = ["VARIANTS", "Workshop"]

VARIANTS: dict[str, Sections] = {
    "PASE": {"model": {"encoder": "pase"}},
    "PASE+": {},
    "PASE+ re-weighted": {"weighting": {"mode": "reweighted"}},
    "PASE+ WLPM": {"model": {"workers": "WLPM"}},
    "PASE+ WLPMC": {"model": {"workers": "WLPMC"}},
    "PASE+ WLPMT": {"model": {"workers": "WLPMT"}},
}
"""Differences from the recipe; "PASE+" has all six workers (WLPMCT) and equal weights. Letters: catalogue.py."""

CALIBRATION = (4, 20)  # steps of two short trainings; the difference of their times is that of 16 steps


@dataclass(frozen=True)
class Workshop:
    """Where encoders are trained.

    Attributes:
        folder: of the runs; what is there is used again.
        corpus: to train on.
        recipe: that all of them share.
        minutes: that one training may take here; `reweighted` trains twice.
    """

    folder: Path
    corpus: Path
    recipe: Path
    minutes: float

    def model(self, name: str) -> Path:
        """The model folder of a variant, trained if it is missing."""
        return train(self._sections(name), self.corpus, self.run(name)).resolve()

    def run(self, name: str) -> Path:
        """The folder of a variant's run."""
        return self.folder / name.replace(" ", "-")

    def crops(self) -> int:
        """Crops that a training sees, from the speed of this machine; measured once.

        Raises:
            ConfigError: the folder's encoders were trained with another budget.
        """
        path = self.folder / "budget.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"minutes": self.minutes, "crops_per_minute": self._speed()}))
        found = json.loads(path.read_text("utf-8"))
        if found["minutes"] != self.minutes:
            raise ConfigError(
                f"{self.folder} has encoders of {found['minutes']:g} minutes each: "
                f"use --budget {found['minutes']:g}, or another --work"
            )
        return int(found["crops_per_minute"] * self.minutes)

    def _base(self) -> Sections:
        sections: Sections = tomllib.loads(self.recipe.read_text("utf-8"))
        return {name: values for name, values in sections.items() if name != "probe"}

    def _sections(self, name: str) -> Sections:
        base = self._base()
        epochs = base["training"]["epochs"]
        epoch = {"data": {"crops_per_epoch": self.crops() // epochs}, "weighting": {"equal_epochs": epochs}}
        return merged(base, epoch, VARIANTS[name])

    def _speed(self) -> float:
        """Crops per minute."""
        batch = self._base()["training"]["batch_size"]
        seconds = []
        for steps in CALIBRATION:
            few = {"data": {"crops_per_epoch": steps * batch, "valid_crops": batch}, "training": {"epochs": 1}}
            begin = time.monotonic()
            train(merged(self._base(), few), self.corpus, self.folder / f"calibration-{steps}")
            seconds.append(time.monotonic() - begin)
        return 60 * (CALIBRATION[1] - CALIBRATION[0]) * batch / (seconds[1] - seconds[0])

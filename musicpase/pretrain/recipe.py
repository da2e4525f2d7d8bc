"""Recipes: what configures a training run, as frozen dataclasses that are read from TOML, strictly.

A recipe names only what differs from the defaults below, which are the paper's (arXiv 2102.03229, section 3) where
it says, and otherwise give their reason.
"""

import dataclasses
import difflib
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from musicpase.config import HOP_LENGTH, SAMPLE_RATE, EncoderConfig
from musicpase.errors import ConfigError
from musicpase.pretrain.augment import Augmentation
from musicpase.workers import select_workers

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "DataRecipe",
    "ModelRecipe",
    "ProbeRecipe",
    "Recipe",
    "TrainingRecipe",
    "WeightingRecipe",
    "read_recipe",
]

Section = TypeVar("Section")

_INTEGERS = 2**63
"""Bound of TOML's integers, and of seeds."""


@dataclass(frozen=True)
class ModelRecipe:
    """`[model]`: what is trained."""

    encoder: str = "paseplus"
    """`pase` or `paseplus`."""
    embedding_dim: int = 512
    """Rows of the embedding."""
    workers: str = "WLPMCT"
    """Letters of the workers: waveform, log power spectrum, prosody, MFCC, chroma, tempogram."""
    start: str = ""
    """Weights that the encoder begins with, a name or path as for `load_encoder`; random ones if empty. Those of the
    workers are always random."""

    def __post_init__(self) -> None:
        _one_of("model.encoder", self.encoder, ("pase", "paseplus"))
        _at_least("model.embedding_dim", self.embedding_dim, 1)
        select_workers(self.workers)

    @property
    def config(self) -> EncoderConfig:
        """The encoder's shape."""
        plus = self.encoder == "paseplus"
        return EncoderConfig(embedding_dim=self.embedding_dim, qrnn=plus, skips=plus)


@dataclass(frozen=True)
class DataRecipe:
    """`[data]`: what an epoch is made of."""

    crop_seconds: float = 3.0
    """Length of a crop [s]; whole frames of 10 ms."""
    crops_per_epoch: int = 0
    """0: as many as fit into the training tracks once (the paper's 100,000 clips of 3 s are one epoch)."""
    valid_crops: int = 1024
    """Crops of the validation tracks, the same ones after every epoch: at most as many as fit into them, in whole
    batches, and one batch at least."""
    statistics_crops: int = 256
    """Training crops that the targets' means and deviations are measured on, before the first step."""

    def __post_init__(self) -> None:
        _at_least("data.crops_per_epoch", self.crops_per_epoch, 0)
        _at_least("data.valid_crops", self.valid_crops, 1)
        _at_least("data.statistics_crops", self.statistics_crops, 1)
        frames = self.crop_seconds * SAMPLE_RATE / HOP_LENGTH
        if not (math.isfinite(frames) and abs(frames - round(frames)) < 1e-6 and frames > 24.5):  # 2.01 s are 201
            raise ConfigError(
                f"data.crop_seconds is {self.crop_seconds}: a crop has whole frames of 10 ms, at least 0.25 s"
            )

    @property
    def crop_length(self) -> int:
        """Length of a crop [samples]."""
        return round(self.crop_seconds * SAMPLE_RATE)


@dataclass(frozen=True)
class TrainingRecipe:
    """`[training]`: the optimisation."""

    seed: int = 0
    """Of initial weights, crops and augmentation."""
    epochs: int = 10
    """Of the last phase; see `WeightingRecipe` for the one before it."""
    batch_size: int = 32
    """Crops per step, over all processes together."""
    learning_rate: float = 1e-3
    """Of Adam, at its highest."""
    warmup_steps: int = 0
    """Steps over which the rate rises from 0."""
    schedule: str = "constant"
    """`constant`, or `cosine`: down to 0 at the end of the cycle."""
    cycles: int = 1
    """Shares of a phase, equal if they divide it; warm-up and schedule begin again with each, the weights do not."""
    clip_norm: float = 0.0
    """Gradients are scaled down to this L2 norm; 0: never."""
    weight_decay: float = 0.0
    """Decoupled, as AdamW's."""
    ema: float = 0.0
    """Decay per step of the averaged weights, which are then what is validated and saved; 0: no average."""
    patience: int = 0
    """Epochs without a better validation loss after which a phase ends; 0: it always runs to its end."""
    precision: str = "bf16"
    """Of activations: `fp32`, `bf16`, or `fp16` (CUDA only, with loss scaling). Weights and losses are fp32."""
    standardize: bool = True
    """Whether targets have mean 0 and deviation 1 per row (PASE's z-normalisation)."""
    checkpoint_steps: int = 500
    """Steps between checkpoints; there is one after every epoch as well."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "cycles", "checkpoint_steps"):
            _at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("seed", "warmup_steps", "clip_norm", "weight_decay", "patience"):
            _at_least(f"training.{name}", getattr(self, name), 0)
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"training.learning_rate is {self.learning_rate}: it must be above 0")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"training.ema is {self.ema}: a decay is at least 0 and below 1")
        _one_of("training.schedule", self.schedule, ("constant", "cosine"))
        _one_of("training.precision", self.precision, ("fp32", "bf16", "fp16"))


@dataclass(frozen=True)
class WeightingRecipe:
    """`[weighting]`: how the workers' losses become one."""

    mode: str = "equal"
    """`equal`: their sum. `reweighted`: first a phase with equal weights, then from scratch with each worker's weight
    the reciprocal of its mean validation loss over that phase (arXiv 2102.03229, section 2.1). `uncertainty`: weights
    are learned (Kendall et al. 2018, arXiv 1705.07115)."""
    equal_epochs: int = 10
    """Of the first phase of `reweighted`."""

    def __post_init__(self) -> None:
        _one_of("weighting.mode", self.mode, ("equal", "reweighted", "uncertainty"))
        _at_least("weighting.equal_epochs", self.equal_epochs, 1)


@dataclass(frozen=True)
class ProbeRecipe:
    """`[probe]`: the frozen linear probe on a small labelled set while training."""

    labels: str = ""
    """A `labels.csv` (path, label, split), relative to the recipe; none if empty."""
    every: int = 1
    """Epochs between two probes."""
    max_clips: int = 1000
    """At most so many clips of the set."""

    def __post_init__(self) -> None:
        _at_least("probe.every", self.every, 1)
        _at_least("probe.max_clips", self.max_clips, 1)


@dataclass(frozen=True)
class Recipe:
    """One run."""

    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    weighting: WeightingRecipe = field(default_factory=WeightingRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    probe: ProbeRecipe = field(default_factory=ProbeRecipe)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        path: of the TOML file.

    Returns:
        The recipe, complete.

    Raises:
        ConfigError: it cannot be read, or a section, key, type or value is not one; the message names the nearest.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not TOML: {error}") from None
    try:
        return build_recipe(content)
    except ConfigError as error:
        raise ConfigError(f"recipe {path}: {error}") from None


def build_recipe(content: dict[str, Any]) -> Recipe:
    """A recipe from what its TOML says; errors as `read_recipe`."""
    kinds: dict[str, type] = {section.name: section.default_factory for section in dataclasses.fields(Recipe)}  # type: ignore[misc]
    sections: dict[str, Any] = {}
    for name, values in content.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{name!r} stands outside of a section: put it below one of [{'], ['.join(kinds)}]")
        if name not in kinds:
            raise ConfigError(f"there is no section [{name}]{_nearest(name, list(kinds))}")
        sections[name] = _section(kinds[name], name, values)
    return Recipe(**sections)


def _section(kind: type[Section], section: str, values: dict[str, Any]) -> Section:
    known = {entry.name: entry for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"[{section}] has no key {name!r}{_nearest(name, list(known))}")
        expected = type(known[name].default)
        if type(value) is int and not -_INTEGERS <= value < _INTEGERS:
            raise ConfigError(f"{section}.{name} is {value}: TOML's integers have 64 bits")
        if expected is float and type(value) is int:
            value = float(value)
        if type(value) is not expected:
            raise ConfigError(f"{section}.{name} is {value!r}: expected {expected.__name__}")
        checked[name] = value
    return kind(**checked)


def _nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else f"; there are {', '.join(known)}"


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: choose one of {', '.join(choices)}{_hint(value, choices)}")


def _hint(value: str, choices: tuple[str, ...]) -> str:
    found = difflib.get_close_matches(value, choices, 1, 0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _at_least(name: str, value: float, lowest: float) -> None:
    if not (math.isfinite(value) and value >= lowest):
        raise ConfigError(f"{name} is {value}: it must be at least {lowest}")

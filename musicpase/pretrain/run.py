"""The folder of a run, and what is written beside its weights so that they can be made again."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from musicpase.atomic import explained, write_atomic
from musicpase.config import SAMPLE_RATE
from musicpase.errors import ConfigError, OutputError
from musicpase.hub import load_module
from musicpase.nn import PASE
from musicpase.pretrain.checkpoint import CHECKPOINT
from musicpase.pretrain.corpus import Corpus
from musicpase.pretrain.curves import CURVES
from musicpase.pretrain.log import LOG, PROBE, TENSORBOARD
from musicpase.pretrain.model import Pretraining
from musicpase.pretrain.recipe import Recipe, build_recipe
from musicpase.pretrain.schedule import prolongs
from musicpase.pretrain.store import lock
from musicpase.versions import versions
from musicpase.weights import save_folder
from musicpase.workers import save_workers

__all__ = ["MODEL", "RUN", "START", "open_run", "save_model"]

RUN = "run.json"
"""The resolved recipe, git revision, corpus fingerprint, package versions, SHA-256 of the weights begun with."""

_CODE = ("git_revision", "versions")
"""Its keys that name the code."""

LOCK = ".lock"
"""What a process holds while it trains here; never replaced, as `run.json` is."""

MODEL = "model"
"""Folder of the weights: what `load_encoder` and `musicpase embed --model` take."""

START = "start"
"""Folder of the weights that the encoder began with, if the recipe names some: a copy, since theirs may change."""


@contextmanager
def open_run(folder: Path, recipe: Recipe, corpus: Corpus, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make the folder of a run, or check that it is this one's; no other process may have it while this lasts.

    A run that has no checkpoint yet has nothing to go on with or to lose: it begins anew, whatever its recipe was.
    One that has may go on with a recipe of more epochs, if that would have begun in the same way.

    Args:
        folder: of the run.
        recipe: of the run.
        corpus: that it trains on.
        resume: go on with what is there, if anything is.
        overwrite: delete what is there.

    Raises:
        ConfigError: there is another run, or one that may go on and was not asked to; or the weights that the recipe
            starts with are another encoder's.
        ModelError: the weights that the recipe starts with cannot be loaded.
        OutputError: it cannot be written, there is something that no run has left, or another process trains in it.
    """
    record = {"recipe": asdict(recipe), "corpus": corpus.fingerprint, **_about(corpus)}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / LOCK).open("ab")
    with held:
        lock(held, folder)
        if (folder / RUN).exists() and (folder / CHECKPOINT).exists() and not overwrite:
            if not resume:
                raise ConfigError(f"{folder} holds a run: continue it with --resume, or replace it with --overwrite")
            record = _resumed(folder, recipe, record)
        else:
            start = _load_start(recipe)  # before anything is deleted: it may be what lies here
            _clear(folder)
            if start is not None:
                module, record["start_sha256"] = start
                _save(module, folder / START)
        write_atomic(folder / RUN, json.dumps(record, indent=2).encode() + b"\n")
        yield


def _load_start(recipe: Recipe) -> tuple[PASE, str] | None:
    """The weights that the recipe starts with, and their SHA-256; None if they are random."""
    if not recipe.model.start:
        return None
    module, record = load_module(recipe.model.start)
    if module.config != recipe.model.config:
        raise ConfigError(
            f"model.start is {recipe.model.start!r}, another encoder than the recipe's: "
            f"its shape is {module.config}, the recipe's {recipe.model.config}"
        )
    return module, record.sha256


def _about(corpus: Corpus) -> dict[str, Any]:
    hours = sum(track.length for track in corpus.tracks) / SAMPLE_RATE / 3600
    return {
        "corpus_tracks": len(corpus.tracks),
        "corpus_hours": round(hours, 3),
        "git_revision": _git_revision(),
        "versions": versions(),
    }


def _resumed(folder: Path, recipe: Recipe, now: dict[str, Any]) -> dict[str, Any]:
    """What is written of a run that is resumed: its first record, the current recipe, and which code took it up.

    Raises:
        ConfigError: the run that is there is not the one that is asked for; the message names the first difference.
    """
    differences = []
    try:
        record: dict[str, Any] = json.loads((folder / RUN).read_text("utf-8"))
        found = build_recipe(record["recipe"])
        if not prolongs(recipe, found):
            differences = [
                f"another recipe ({section}.{key} was {value!r}, now it is {now['recipe'][section][key]!r})"
                for section, values in asdict(found).items()
                for key, value in values.items()
                if now["recipe"][section][key] != value
            ]
        if record["corpus"] != now["corpus"]:
            differences.append("another corpus")
        codes = [{key: each[key] for key in _CODE} for each in (record, *record.get("resumed_by", ()), now)]
    except ConfigError as error:
        differences = [f"a {RUN} that this version cannot read ({error})"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        differences = [f"a damaged {RUN} ({type(error).__name__})"]
    if differences:
        raise ConfigError(f"{folder} holds a run with {differences[0]}: use another folder, or --overwrite")
    later = [code for before, code in pairwise(codes) if code != before]
    return record | {"recipe": now["recipe"]} | ({"resumed_by": later} if later else {})


def _clear(folder: Path) -> None:
    """Delete what a run leaves, its checkpoint first, and nothing else."""
    for name in (CHECKPOINT, LOG, PROBE, CURVES, MODEL, START, TENSORBOARD):
        path = folder / name
        if path.exists() and not (folder / RUN).exists():
            raise OutputError(f"{path} is there, but no run ({RUN}): use another folder, or move it away")
        with explained(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def save_model(folder: Path, model: Pretraining) -> None:
    """Write the encoder and its workers as a model folder.

    Raises:
        ModelError: a weight is not finite.
        OutputError: it cannot be written.
    """
    _save(model.encoder, folder / MODEL)
    save_workers(model.workers, folder / MODEL)


def _save(encoder: PASE, target: Path) -> None:
    with explained(target):
        target.mkdir(exist_ok=True)
    save_folder(encoder.config, encoder.state_dict(), target)


def _git_revision() -> str | None:
    """Commit of the source tree that runs, with `+` behind it if it was changed; None outside of one."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # an environment may lie in somebody else's tree
        return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain", "-uno", "--", "..") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

"""Which weights there are, and from a name, a path or a repository to a module: the one way to load an encoder."""

import dataclasses
import hashlib
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from musicpase import weights
from musicpase.config import EncoderConfig
from musicpase.errors import ModelError
from musicpase.nn import PASE, PASEPlus

__all__ = ["DEFAULT_MODEL", "ModelRecord", "UntrainedWeightsWarning", "list_models", "load_module"]

DEFAULT_MODEL = "paseplus-music"


class UntrainedWeightsWarning(UserWarning):
    """The weights in use are random: embeddings are reproducible, but they have learned nothing."""


@dataclass(frozen=True)
class ModelRecord:
    """What is known about a set of weights.

    Attributes:
        name: what `load_module` takes for it: a published name, a path, or a repository.
        trained: False for weights that are an initialisation; a file or repository not known here counts as trained.
        sha256: of `model.safetensors` (or of the checkpoint file), which every output carries; of an
            initialisation that of the file it would be saved as.
        licence: SPDX identifier, or "unknown".
        source: where the weights come from, in words.
        training_data: what they were trained on.
        recipe: the file under `recipes/` that trains them again, or "".
        repo_id: repository on the Hugging Face Hub for weights not bundled in the package, or "".
        revision: the commit of that repository that `sha256` belongs to.
    """

    name: str
    trained: bool
    sha256: str
    licence: str = "unknown"
    source: str = ""
    training_data: str = "unknown"
    recipe: str = ""
    repo_id: str = ""
    revision: str = ""


# To publish trained weights: put config.json and model.safetensors into musicpase/weights/<name>/ (bundled in the
# wheel) or on the Hub (repo_id, revision), and change the record here; `sha256sum model.safetensors` gives the hash.
RECORDS = (
    ModelRecord(
        name=DEFAULT_MODEL,
        trained=True,
        sha256="ad2c351a7e167d59fda625b44df22de3e5f6bda84959a6fda366056028557d0c",
        licence="CC-BY-4.0",
        source="trained by the developers of musicpase; model_card.md tells how",
        training_data="27.6 h of music: CC0 and CC-BY recordings, and renderings of CC0, CC-BY and BSD-3 scores",
        recipe="release.toml, release2.toml, release3.toml",
    ),
    ModelRecord(
        name="paseplus-untrained",
        trained=False,
        sha256="3fb286377c4141cb297c4caeb60f886e3a7803e633ea2387397f3cc71088092f",
        licence="MIT",
        source="PASE+ as initialised from seed 0, made on load",
        training_data="none",
    ),
)
REPO_ID = r"[\w-][\w.-]*/[\w.-]+(?<!\.ckpt)(?<!\.safetensors)"
BUNDLED = Path(weights.__file__).parent


def list_models() -> tuple[ModelRecord, ...]:
    """The records of all published weights, the default first."""
    return RECORDS


def load_module(name_or_path: str | Path = DEFAULT_MODEL, *, revision: str | None = None) -> tuple[PASE, ModelRecord]:
    """Load an encoder from wherever its weights are.

    Looked for in this order: a published name (bundled in the package, else its pinned commit on the Hub), a local
    folder or file, a repository of the Hugging Face Hub. A local folder that is called like a published model needs
    its path in front: `./paseplus-music`.

    Args:
        name_or_path: a published name (`list_models`); a folder with `config.json` and `model.safetensors`; a
            `.safetensors` file; a `.ckpt` of the original PASE or PASE+; or `owner/name` on the Hub.
        revision: branch, tag or commit, for the Hub only.

    Returns:
        The module, fp32 on the CPU and in evaluation mode, and its record.

    Raises:
        ModelError: not found, not readable, damaged, or not what its record says; one line that says what to do.

    Warns:
        UntrainedWeightsWarning: the weights are an initialisation.
    """
    name = os.fspath(name_or_path)
    published = {record.name: record for record in RECORDS}
    path = Path(name).expanduser()
    if name in published:
        module, record = _load_published(published[name], revision)
    elif re.fullmatch(REPO_ID, name) and not path.exists():
        module, record = _load_repository(name, revision)
    else:
        module, record = _load_local(name, path, revision)
    if not record.trained:
        warnings.warn(
            f"the weights of {record.name} are not trained ({record.source}): good for tests, not for music",
            UntrainedWeightsWarning,
            stacklevel=2,
        )
    return module, record


def _make(config: EncoderConfig) -> PASE:
    """The class that a configuration is named after."""
    return PASEPlus(config) if config.qrnn else PASE(config)


def _load_published(record: ModelRecord, revision: str | None) -> tuple[PASE, ModelRecord]:
    """Bundled weights, or pinned ones from the Hub, checked; or, for a record without either, the initialisation."""
    folder, remedy = BUNDLED / record.name, "reinstall musicpase"
    if revision is not None and not record.repo_id:
        raise ModelError(f"{record.name}: comes with the package and has no revisions; leave the revision out")
    if revision is not None and revision != record.revision:
        return _load_repository(record.repo_id, revision)
    if not folder.is_dir() and record.repo_id:
        folder = weights.download_folder(record.repo_id, record.revision)
        remedy = _delete_cached(folder)
    if not folder.is_dir():
        return _initialised(record)
    return _load_fetched(folder, record.sha256, remedy)[0], record


def _initialised(record: ModelRecord) -> tuple[PASE, ModelRecord]:
    """The seed-0 initialisation, rounded as saving it would, so that a saved copy gives the same embeddings."""
    with weights.isolated():
        torch.default_generator.manual_seed(0)  # only this one: `torch.manual_seed` also seeds every GPU
        module = PASEPlus()
    state = module.state_dict()
    sha256 = hashlib.sha256(weights.weights_bytes(state)).hexdigest()
    for key, value in state.items():
        value.copy_(weights.stored(key, value))
    return module.eval(), dataclasses.replace(record, sha256=sha256)


def _load_local(name: str, path: Path, revision: str | None) -> tuple[PASE, ModelRecord]:
    if revision is not None:
        raise ModelError(f"{weights.shown(name)}: a revision only goes with a repository on the Hub (owner/name)")
    if path.name == name and not path.suffix and not os.path.lexists(path):
        names = ", ".join(record.name for record in RECORDS)
        raise ModelError(
            f"{weights.shown(name)}: no such model (there are: {names}), nor a file or folder of that name"
        )
    load = weights.load_folder if path.is_dir() else weights.load_file
    module, sha256 = load(_make, path)
    return module, _record_of(name, sha256, f"local file {path}")


def _load_repository(repo_id: str, revision: str | None) -> tuple[PASE, ModelRecord]:
    folder = weights.download_folder(repo_id, revision)
    module, sha256 = _load_fetched(folder, weights.announced_sha256(folder), _delete_cached(folder))
    return module, _record_of(repo_id, sha256, f"https://huggingface.co/{repo_id} at {folder.name}")


def _load_fetched(folder: Path, expected: str | None, remedy: str) -> tuple[PASE, str]:
    """A folder that somebody else wrote: if it is damaged, the remedy is to have it written again."""
    try:
        module, sha256 = weights.load_folder(_make, folder)
        if expected is not None and sha256 != expected:
            raise ModelError(f"{folder}: damaged: the weights have sha256 {sha256}, expected {expected}")
    except ModelError as error:
        raise ModelError(f"{error}; {remedy}") from None
    return module, sha256


def _delete_cached(folder: Path) -> str:
    """How to get a cache's snapshot again: without the whole repository's folder, of which it is but links."""
    return f"delete {folder.parents[1]} and try again"


def _record_of(name: str, sha256: str, source: str) -> ModelRecord:
    """The published record of these very weights, or one that says what little is known."""
    for record in RECORDS:
        if record.sha256 == sha256:
            return record
    return ModelRecord(name=name, trained=True, sha256=sha256, source=source)

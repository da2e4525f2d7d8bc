"""Fetching a model folder from the Hugging Face Hub, with errors that say what to do."""

import re
from pathlib import Path

from musicpase.errors import ModelError
from musicpase.weights.files import shown
from musicpase.weights.save import CONFIG_NAME, WEIGHTS_NAME

__all__ = ["announced_sha256", "download_folder"]


def download_folder(
    repo_id: str,
    revision: str | None = None,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Fetch `config.json` and `model.safetensors` of one commit, or find them in the cache.

    `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` count, as the client documents them.

    Args:
        repo_id: `owner/name`.
        revision: branch, tag or commit; the repository's main branch if not given.
        token: access token, or False for none; the stored one if not given.
        cache_dir: the Hub's cache if not given.
        force_download: fetch again what the cache has.
        local_files_only: use the cache only, as with `HF_HUB_OFFLINE=1`.

    Returns:
        The folder in the cache.

    Raises:
        ModelError: it cannot be had; the message says why and what to do.
    """
    from huggingface_hub import hf_hub_download  # 0.2 s that local models need not wait for

    commit = None
    try:
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            path = hf_hub_download(
                repo_id,
                name,
                revision=commit or revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
            )
            # .../snapshots/<commit>/config.json: the weights come from the same commit, whatever is pushed meanwhile.
            commit = Path(path).parent.name
    except Exception as error:  # the transport (requests before 1.0, httpx since) has errors of its own
        raise ModelError(f"{_described(repo_id, revision)}: {_reason(error)}") from None
    return Path(path).parent


def _described(repo_id: str, revision: str | None) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{shown(repo_id)}" + (f" at revision {shown(revision, 80)}" if revision else "")


def _reason(error: Exception) -> str:
    """What went wrong with a download, and what to do about it, in one line."""
    from huggingface_hub import errors

    if isinstance(error.__cause__, errors.FileMetadataError):  # which the client hides behind "not in the cache"
        return "the answer is not the Hub's (a proxy or login page?): check the network and HF_ENDPOINT"
    reasons: tuple[tuple[type[Exception], str], ...] = (  # the first that fits; special before general
        (errors.HFValidationError, "not a repository id (owner/name)"),
        (errors.GatedRepoError, "gated: accept its terms on that page, then log in with `hf auth login`"),
        (
            errors.RepositoryNotFoundError,
            "no such repository, or a private one: check the name, log in with `hf auth login`",
        ),
        (errors.RevisionNotFoundError, "no such revision: check the branch, tag or commit"),
        (
            errors.LocalEntryNotFoundError,
            "not in the cache, and the Hub is offline or out of reach (HF_HUB_OFFLINE?): "
            "connect once, or copy the folder here and pass its path",
        ),
        (errors.EntryNotFoundError, f"no {CONFIG_NAME} and {WEIGHTS_NAME} in it, so it is no musicpase model"),
    )
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return "access denied: log in with `hf auth login`, or check HF_TOKEN"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"download failed ({shown(lines[0], 200)}); try again, or copy the folder here and pass its path"


def announced_sha256(folder: Path) -> str | None:
    """What the sha256 of a downloaded `model.safetensors` should be, if the Hub said so: it names large files by it.

    Args:
        folder: as `download_folder` gave it; its files are links to blobs under the Hub's names.
    """
    blob = (folder / WEIGHTS_NAME).resolve().name
    return blob if re.fullmatch("[0-9a-f]{64}", blob) else None

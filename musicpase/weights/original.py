"""Checkpoints of the original PASE and PASE+ code: pickled state dicts, read without running what they hold.

Three fences, because a pickle is a program: a scan that executes nothing bounds its size and names anything
foreign in it; `torch.load(weights_only=True)` of a torch whose restricted unpickler has its known holes closed; and
what comes out must be tensors that the file's own bytes pay for. What these refuse stays refused.
"""

import hashlib
import pickletools
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from musicpase.errors import ModelError
from musicpase.weights.files import open_regular, shown
from musicpase.weights.tensors import DTYPES

__all__ = ["read_checkpoint"]

MIN_TORCH = "2.10"  # CVE-2025-32434 was fixed in 2.6, CVE-2026-24747 in 2.10
MAX_DIRECTORY_BYTES = 1 << 20  # of a zip archive: some 10,000 entries
MAX_OPCODES = 200_000  # a state dict of 78 tensors takes 2,500; with an optimiser's state four times that
TRUSTED_ROOTS = frozenset({"torch", "collections"})
LEGACY_PICKLES = 5  # magic number, protocol, system, the object, storage keys: the format before torch 1.6
MARK = "blocks.0.conv.low_hz_"  # the key that finds the encoder in what surrounds it
MAX_DEPTH = 4


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read the encoder's state dict out of a PyTorch checkpoint.

    It may be nested in dictionaries (`state_dict`, `model`, ...) and its keys may carry a prefix (`module.`,
    `frontend.`); then tensors without the prefix belong to something else and are left out.

    Returns:
        Tensors by key without prefix, as stored; and the sha256 of the file.

    Raises:
        ModelError: torch is too old, or the file is not a readable, harmless checkpoint with one encoder in it.
    """
    if TorchVersion(torch.__version__) < TorchVersion(MIN_TORCH):
        raise ModelError(
            f"{shown(path)}: reading a .ckpt safely needs torch >= {MIN_TORCH}, this is {torch.__version__}; "
            "run `pip install -U torch`, or use a .safetensors file"
        )
    file, size = open_regular(path)
    with file:
        _inspect(path, file, size)
        file.seek(0)
        sha256 = _sha256(file)
        file.seek(0)
        content = _load(path, file)
    tensors = _encoder_state(path, content)
    _check_tensors(path, tensors, size)
    return tensors, sha256


def _sha256(file: BufferedReader) -> str:
    """Of the rest of an open file; `hashlib.file_digest` needs Python 3.11."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _load(path: Path, file: BufferedReader) -> object:
    """`torch.load`, restricted; its messages, which advise the unsafe mode, are replaced."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise ModelError(
            f"{shown(path)}: damaged, or more than tensors in it ({type(error).__name__}); nothing in it was executed"
        ) from None


def _inspect(path: Path, file: BufferedReader, size: int) -> None:
    """Look at the file without executing anything; refuse what could take memory or time, or names foreign code."""
    if file.read(4) != b"PK\x03\x04":
        file.seek(0)
        for _ in range(LEGACY_PICKLES):
            _scan_pickle(path, file)
        return
    # The last 22 bytes of a zip archive without comment: sizes of its directory. A comment could hide a second end.
    file.seek(max(0, size - 22))
    end = file.read()
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise ModelError(f"{shown(path)}: truncated, or not written by torch.save; fetch it again")
    if int.from_bytes(end[12:16], "little") > MAX_DIRECTORY_BYTES:
        raise ModelError(f"{shown(path)}: a zip archive with too many entries for a checkpoint")
    try:
        with zipfile.ZipFile(file) as archive:
            _inspect_archive(path, archive, size)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{shown(path)}: a damaged zip archive ({shown(error, 100)}); fetch it again") from None


def _inspect_archive(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ModelError(f"{shown(path)}: its entries claim more bytes than the file has (a zip bomb?)")
    pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
    if [entry.filename.rpartition("/")[2] for entry in pickles] != ["data.pkl"]:
        raise ModelError(f"{shown(path)}: not a checkpoint of torch.save (a TorchScript or other archive)")
    with archive.open(pickles[0]) as file:
        _scan_pickle(path, file)


def _scan_pickle(path: Path, file: Any) -> None:
    """Walk over one pickle's opcodes, executing none."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count > MAX_OPCODES:
                raise ModelError(f"{shown(path)}: its pickle is too long for an encoder")
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                if module.partition(".")[0] not in TRUSTED_ROOTS:
                    raise ModelError(
                        f"{shown(path)}: refused, its pickle asks for {shown(f'{module}.{name}', 80)}, "
                        "which is no tensor; nothing was executed"
                    )
    except (ValueError, MemoryError, OverflowError, EOFError, OSError):
        raise ModelError(f"{shown(path)}: not a PyTorch checkpoint, or truncated; fetch it again") from None


def _encoder_state(path: Path, content: object) -> dict[str, Tensor]:
    """The one state dict with an encoder in it, without its prefix."""
    found = list(_candidates(content, "", 0))
    if not found:
        raise ModelError(f"{shown(path)}: no PASE encoder in it (no tensor named ...{MARK})")
    if len(found) > 1:
        names = ", ".join(shown(name, 50) for name, _, _ in found[:5])
        raise ModelError(f"{shown(path)}: {len(found)} encoders in it ({names}); save the one you mean by itself")
    _, state, prefix = found[0]
    return {str(key)[len(prefix) :]: value for key, value in state.items() if str(key).startswith(prefix)}


def _candidates(content: object, where: str, depth: int) -> Iterator[tuple[str, Mapping[Any, Any], str]]:
    """Every encoder in nested dictionaries: where it is, the state dict, and its keys' prefix."""
    if not isinstance(content, dict) or depth > MAX_DEPTH:
        return
    for key, value in content.items():
        if isinstance(key, str) and key.endswith(MARK) and isinstance(value, Tensor):
            yield where + key, content, key.removesuffix(MARK)
        elif isinstance(value, dict):
            yield from _candidates(value, f"{where}{key}/", depth + 1)


def _check_tensors(path: Path, tensors: Mapping[str, Any], size: int) -> None:
    """Plain tensors only, and no more of them than the file has bytes (a stride of 0 makes gigabytes of four)."""
    for key, value in tensors.items():
        plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided
        if not plain or value.device.type != "cpu" or value.dtype not in DTYPES.values():
            raise ModelError(f"{shown(path)}: '{shown(key, 80)}' is no plain tensor")
    if sum(value.numel() * value.element_size() for value in tensors.values()) > size:
        raise ModelError(f"{shown(path)}: its tensors claim more values than the file's {size} bytes hold")

"""Small model folders, whole and broken, for the tests of weights."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from musicpase.config import EncoderConfig
from musicpase.nn import PASEPlus

SMALL = EncoderConfig(embedding_dim=6, channels=(4, 4, 4, 4, 4, 4, 4, 5), qrnn_dim=7)
Header = dict[str, Any]


def small_module() -> PASEPlus:
    """PASE+ with a few thousand weights, none of them at its initial value."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        module = PASEPlus(SMALL)
        for key, value in module.state_dict().items():
            if value.is_floating_point() and not key.endswith("_hz_"):
                value.uniform_(0.1, 1)
    return module.eval()


def small_folder(folder: Path) -> Path:
    small_module().save_pretrained(folder)
    return folder


def parts(path: Path) -> tuple[Header, bytes]:
    """Header and data of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def edited(state: Mapping[str, torch.Tensor], **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A copy of a state dict with some tensors replaced, added, or (None) left out; `__` in a name is a dot."""
    result = dict(state)
    for name, value in changes.items():
        result.pop(name.replace("__", "."), None)
        if value is not None:
            result[name.replace("__", ".")] = value
    return result

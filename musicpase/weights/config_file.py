"""`config.json`: an `EncoderConfig`, checked value by value, or deduced from the tensors where there is none."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from musicpase.config import HOP_LENGTH, EncoderConfig
from musicpase.errors import ModelError
from musicpase.weights.files import open_regular, shown

__all__ = ["config_bytes", "deduce_config", "parameter_count", "read_config"]

MAX_CONFIG_BYTES = 65_536
MAX_BLOCKS = 64
MAX_SIZE = 65_536
"""Largest number a configuration may hold: far above any encoder, far below what exhausts memory."""

Shapes = Mapping[str, tuple[int, ...]]


def config_bytes(config: EncoderConfig) -> bytes:
    """The configuration as the text of `config.json`."""
    return (json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n").encode()


def read_config(path: Path) -> EncoderConfig:
    """Read and check `config.json`; keys that are absent keep their default.

    Raises:
        ModelError: no JSON object, an unknown key, a value of the wrong type or one that makes no encoder.
    """
    file, size = open_regular(path)
    with file:
        if size > MAX_CONFIG_BYTES:
            raise ModelError(f"{shown(path)}: {size} bytes are too many for an encoder's configuration")
        text = file.read(MAX_CONFIG_BYTES)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{shown(path)}: not valid JSON ({shown(error, 100)})") from None
    if not isinstance(values, dict):
        raise ModelError(f"{shown(path)}: not a JSON object")
    known = {field.name: field.default for field in dataclasses.fields(EncoderConfig)}
    for key, value in values.items():
        if key not in known:
            raise ModelError(
                f"{shown(path)}: unknown key '{shown(key, 50)}', so this is no musicpase model "
                f"(known: {', '.join(known)})"
            )
        _check_type(path, key, value, known[key])
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return _checked(path, EncoderConfig(**cast(dict[str, Any], values)))


def _check_type(path: Path, key: str, value: Any, default: object) -> None:
    if isinstance(default, bool):
        good, expected = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        good, expected = _is_size(value), f"a whole number from 1 to {MAX_SIZE}"
    else:
        good = isinstance(value, list) and 0 < len(value) <= MAX_BLOCKS and all(map(_is_size, value))
        expected = f"a list of whole numbers from 1 to {MAX_SIZE}"
    if not good:
        raise ModelError(f"{shown(path)}: '{key}' is {shown(json.dumps(value), 50)}, expected {expected}")


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIZE  # a bool is an int, but not a size


def _checked(path: Path, config: EncoderConfig) -> EncoderConfig:
    """The configuration again, if its numbers make an encoder together."""
    lengths = {len(config.kernel_sizes), len(config.strides), len(config.channels)}
    problem = None
    if len(lengths) > 1:
        problem = "'kernel_sizes', 'strides' and 'channels' differ in length"
    elif math.prod(config.strides) != HOP_LENGTH:
        problem = f"'strides' multiply to {math.prod(config.strides)}, not to the hop of {HOP_LENGTH} samples"
    elif config.strides[0] != 1 or config.kernel_sizes[0] % 2 == 0:
        problem = "the first block (sinc filters) needs stride 1 and an odd kernel size"
    if problem:
        raise ModelError(f"{shown(path)}: {problem}")
    return config


def parameter_count(config: EncoderConfig) -> int:
    """Parameters of the encoder's matrices and kernels: what it takes, but for some vectors, before it is made."""
    *before, last = config.channels
    blocks = sum(a * b * k for a, b, k in zip(before, config.channels[1:], config.kernel_sizes[1:], strict=True))
    top = config.qrnn_dim if config.qrnn else last
    skips = sum(before) * config.embedding_dim if config.skips else 0
    recurrence = 6 * last * config.qrnn_dim if config.qrnn else 0  # 3 gates, window 2
    return blocks + skips + recurrence + top * config.embedding_dim


def deduce_config(path: Path, shapes: Shapes) -> EncoderConfig:
    """The configuration behind a state dict with the original's keys.

    Tensors do not tell strides, nor the length of the sinc filters: they are taken to be the original's, which is
    why only its kernel sizes are accepted here.

    Args:
        path: where the tensors come from, for the message.
        shapes: key -> shape.

    Raises:
        ModelError: a tensor that tells the shape is missing, or it is not the original's architecture.
    """
    default = EncoderConfig()
    blocks = range(len(default.kernel_sizes))

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        found = shapes.get(key)
        if found is None:
            raise ModelError(f"{shown(path)}: tensor '{key}' is missing, so this is not a PASE or PASE+ encoder")
        if len(found) != dimensions or not all(map(_is_size, found)):
            raise ModelError(f"{shown(path)}: tensor '{key}' has the impossible shape {list(found)}")
        return found

    kernels = tuple(shape(f"blocks.{index}.conv.weight", 3)[2] for index in blocks[1:])
    if kernels != default.kernel_sizes[1:]:
        raise ModelError(
            f"{shown(path)}: kernel sizes {list(kernels)} are not the original's {list(default.kernel_sizes[1:])}; "
            "save it as a folder with config.json and model.safetensors"
        )
    qrnn = any(key.startswith("rnn.") for key in shapes)
    return EncoderConfig(
        embedding_dim=shape("W.weight", 3)[0],
        channels=tuple(shape(f"blocks.{index}.norm.weight", 1)[0] for index in blocks),
        qrnn=qrnn,
        qrnn_dim=shape("W.weight", 3)[1] if qrnn else default.qrnn_dim,
        skips=any(key.startswith("denseskips.") for key in shapes),
    )

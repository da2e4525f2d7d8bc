"""float32 that is float32: torch may compute with fewer digits, and others in the process may ask it to."""

import threading
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["exact_float32"]


class _ExactFloat32:
    """A context in which float32 convolutions and matrix products are not done in TF32 or bf16.

    By default cuDNN convolves in TF32, 3 digits fewer. The switches belong to the process, and several devices
    compute in threads: the first to enter turns them, the last to leave turns them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._turn_back: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._turn_back = [_exact_convolutions(), _exact_products()]
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for turn_back in self._turn_back:
                    turn_back()


exact_float32 = _ExactFloat32()

_newer: Any = torch.backends  # has attributes that its types do not know


def _exact_convolutions() -> Callable[[], None]:
    try:
        before = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # somebody has turned the newer switches, and torch lets nobody use both
        return _exact(_newer.cudnn.conv)

    def turn(to: bool) -> None:
        torch.backends.cudnn.allow_tf32 = to

    turn(False)
    return lambda: turn(before)


def _exact_products() -> Callable[[], None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        return _exact(_newer.cuda.matmul, _newer.mkldnn.matmul)
    if before != "highest":  # setting what there is would turn the newer switches
        torch.set_float32_matmul_precision("highest")
    return lambda: None if before == "highest" else torch.set_float32_matmul_precision(before)


def _exact(*switches: Any) -> Callable[[], None]:
    """Turn newer switches."""
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "ieee"

    def turn_back() -> None:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value

    return turn_back

"""float32 that is float32: torch may compute with fewer digits, and others in the process may ask it to."""

import threading
from typing import Any

import torch

__all__ = ["exact_float32"]

_backends: Any = torch.backends  # has attributes that its types do not know
_SWITCHES = (_backends.cudnn.conv, _backends.cuda.matmul, _backends.mkldnn.conv, _backends.mkldnn.matmul)


class _ExactFloat32:
    """A context in which float32 convolutions and matrix products are not done in TF32 or bf16.

    By default cuDNN convolves in TF32, 3 digits fewer. The switches belong to the process, and several devices
    compute in threads: the first to enter turns them, the last to leave turns them back. In between, another thread
    that reads torch's older switches (`allow_tf32`) may get its RuntimeError about the use of both kinds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[str] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [switch.fp32_precision for switch in _SWITCHES]
                for switch in _SWITCHES:
                    switch.fp32_precision = "ieee"
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for switch, before in zip(_SWITCHES, self._before, strict=True):
                    switch.fp32_precision = before


exact_float32 = _ExactFloat32()

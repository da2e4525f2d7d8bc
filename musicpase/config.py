"""Constants and configurations: the only place where a default value is written down."""

from dataclasses import dataclass

__all__ = ["HOP_LENGTH", "SAMPLE_RATE", "EncoderConfig"]

SAMPLE_RATE = 16_000
"""Sampling rate that every encoder works at [Hz]."""

HOP_LENGTH = 160
"""Samples between two embedding frames: the product of the strides, 10 ms at 16 kHz."""


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of a PASE or PASE+ encoder.

    Defaults are PASE+ with 512-d embeddings (arXiv 2001.09239 and the original repository's `PASE+.cfg`; the
    512 are arXiv 2102.03229's). `qrnn=False, skips=False` is PASE (arXiv 1904.03416).
    """

    embedding_dim: int = 512
    kernel_sizes: tuple[int, ...] = (251, 20, 11, 11, 11, 11, 11, 11)
    strides: tuple[int, ...] = (1, 10, 2, 1, 2, 1, 2, 2)
    channels: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512)
    qrnn: bool = True
    qrnn_dim: int = 512
    skips: bool = True

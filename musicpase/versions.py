"""Versions of musicpase and of what it stands on, for bug reports."""

import platform

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Name to version: musicpase, Python, torch, and the libraries that decode, resample and read weights."""
    import av
    import huggingface_hub
    import numpy
    import safetensors
    import soundfile
    import soxr
    import torch

    from musicpase import __version__

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "musicpase": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "PyAV": av.__version__,
        "FFmpeg": f"{av.ffmpeg_version_info} (libavcodec {codec})",
        "soxr": f"{soxr.__version__} (libsoxr {soxr.__libsoxr_version__})",
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "safetensors": safetensors.__version__,
        "huggingface-hub": huggingface_hub.__version__,
    }

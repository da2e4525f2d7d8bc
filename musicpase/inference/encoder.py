"""`load_encoder` and the `Encoder` it returns: a waveform, a file or many files in, embeddings out."""

import copy
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray

from musicpase import audio
from musicpase.config import HOP_LENGTH, SAMPLE_RATE, EncoderConfig
from musicpase.errors import AudioError, ConfigError
from musicpase.hub import DEFAULT_MODEL, ModelRecord, load_module
from musicpase.inference.batching import Batcher, Track
from musicpase.inference.devices import DTYPES, pick_device, pick_precision
from musicpase.inference.engine import Engine
from musicpase.inference.pipeline import Failure, Result, embed_sources
from musicpase.inference.pooling import Pooling
from musicpase.inference.stream import Frames, Stream, Waveform, as_array
from musicpase.nn import PASE, frame_times

__all__ = ["STRIP_SECONDS", "Encoder", "load_encoder"]

# Seconds of audio that are computed at once. A CPU is as fast at 4 s as at 10 (0.5 s: two thirds of it), and memory
# above 32 MB for one activation would be fetched anew from the system on every strip. 5 s divides clips of 5, 10 and
# 30 s. A GPU wants thousands of frames per matrix product.
STRIP_SECONDS = {"cpu": 5.0, "cuda": 120.0, "mps": 30.0}
LONGEST_STRIP_S = 2000  # beyond it a layer has more than 2^31 numbers, for which CUDA's libraries have other code


class Encoder:
    """An encoder ready to embed; made by `load_encoder`.

    Attributes:
        record: where the weights come from.
        device: where it computes.
        precision: "fp32", "bf16" or "fp16".
        embedding_dim: width of an embedding.
    """

    sample_rate = SAMPLE_RATE
    hop_length = HOP_LENGTH

    def __init__(
        self, module: PASE, record: ModelRecord, device: torch.device, precision: str, batch_seconds: float
    ) -> None:
        self.record = record
        self.device = device
        self.precision = precision
        self.embedding_dim = module.config.embedding_dim
        self.config = module.config
        self._module = module
        self.batch_seconds = batch_seconds
        self._engine = self._new_engine(batch_seconds)

    def _new_engine(self, seconds: float) -> Engine:
        frames = round(seconds * SAMPLE_RATE / HOP_LENGTH)
        return Engine(self._module, frames, self.device, DTYPES[self.precision])

    def embed(self, waveform: Waveform | Sequence[Waveform], sample_rate: int) -> NDArray[np.float32]:
        """The mean embedding of one sound, or of each of a batch.

        Args:
            waveform: floats in [-1, 1] or signed integers, numpy or torch: `(samples,)`; `(channels, samples)`,
                mixed to mono as files are; `(batch, channels, samples)`; or a list of the first two, of any lengths.
                (A batch of mono sounds is `(batch, 1, samples)`: two dimensions are one sound.)
            sample_rate: of the waveform [Hz]; resampled to 16 kHz where it differs.

        Returns:
            `(embedding_dim,)`, or `(batch, embedding_dim)` for a batch, float32.

        Raises:
            AudioError: the sound is shorter than 10 ms or holds NaN or infinity.
        """
        sounds, single = as_sounds(waveform)
        pools = self._pool_all(sounds, sample_rate, Pooling("mean"))
        rows = np.concatenate([np.empty((0, self.embedding_dim), np.float32), *(pool.rows() for pool in pools)])
        row: NDArray[np.float32] = rows[0] if single else rows
        return row

    def frames(self, waveform: Waveform, sample_rate: int) -> Frames:
        """One embedding every 10 ms of one sound; arguments and errors as for `embed`.

        Returns:
            `Frames` with `samples // 160` rows, samples counted at 16 kHz.
        """
        (frames,) = self.frames_of([waveform], sample_rate)
        return frames

    def frames_of(self, waveforms: Sequence[Waveform], sample_rate: int) -> list[Frames]:
        """As `frames`, for each of several sounds of any lengths; quicker than one by one."""
        pools = self._pool_all([as_array(waveform) for waveform in waveforms], sample_rate, Pooling("frames"))
        return [Frames(pool.rows(), frame_times(self.config, pool.frames).numpy()) for pool in pools]

    def _pool_all(self, sounds: Sequence[NDArray[Any]], sample_rate: int, pooling: Pooling) -> list[Any]:
        batcher = Batcher(self._engine)
        pools = []
        for sound in sounds:
            samples, notes = audio.to_mono(sound, sample_rate)
            for note in notes:
                warnings.warn(note, stacklevel=3)
            if len(samples) < HOP_LENGTH:
                raise AudioError(f"shorter than one frame of 10 ms: {len(samples)} samples at 16 kHz")
            pools.append(pooling.new(self._engine.head))
            track = Track(pools[-1])
            batcher.push(track, samples)
            batcher.close(track)
        batcher.flush()
        return pools

    def embed_file(self, path: str | os.PathLike[str]) -> NDArray[np.float32]:
        """The mean embedding of an audio file (anything `musicpase embed` reads), `(embedding_dim,)`.

        Raises:
            AudioError: the file cannot be used; the message says why.
        """
        (result,) = self.embed_files([path], workers=0)
        if isinstance(result, Failure):
            raise AudioError(f"{audio.escape(result.path)}: {result.reason}")
        row: NDArray[np.float32] = result.rows[0]
        return row

    def embed_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        pooling: Pooling | None = None,
        workers: int | None = None,
        max_duration: float | None = None,
    ) -> Iterator[Result | Failure]:
        """Embed many files, decoding ahead in worker processes; one bad file is one `Failure`.

        Args:
            paths: files, in any format that `musicpase embed` reads.
            pooling: one row per file (default), per frame or per segment.
            workers: decoding processes; by default as many as there are cores, at most 8; 0 decodes in this process.
            max_duration: files longer than this [s] become failures.

        Yields:
            A `Result` or a `Failure` per path, in the order of the paths.
        """
        sources = [audio.Source(os.fspath(path), os.fspath(path)) for path in paths]
        return embed_sources(self.new_batcher(), sources, pooling=pooling, workers=workers, max_duration=max_duration)

    def stream(self, *, block_seconds: float = 0.5) -> "Stream":
        """A live stream at 16 kHz: push blocks, get the frames that have become final.

        Args:
            block_seconds: frames come in groups of this length [s], about 0.1 s after their last sample.
        """
        return Stream(self.config, self._new_engine(block_seconds))

    def new_batcher(self) -> Batcher:
        """A batcher of its own for one run over many sounds."""
        return Batcher(self._engine)

    @property
    def head(self) -> torch.nn.Linear:
        """The linear top: hidden rows to embeddings."""
        return self._engine.head

    def on(self, device: torch.device) -> "Encoder":
        """The same encoder on another device of the same kind."""
        return Encoder(self._module, self.record, device, self.precision, self.batch_seconds)

    def module_copy(self) -> PASE:
        """The encoder as a plain module to train further: a copy, fp32, on the CPU."""
        return copy.deepcopy(self._module).cpu()

    def provenance(self) -> dict[str, Any]:
        """What an output must say about where it comes from."""
        return provenance(self.record, self.config, self.device.type, self.precision)


def provenance(record: ModelRecord, config: EncoderConfig, device: str, precision: str) -> dict[str, Any]:
    """What an output must say about where it comes from."""
    from musicpase import __version__

    return {
        "model": record.name,
        "weights_sha256": record.sha256,
        "trained": record.trained,
        "weights_licence": record.licence,
        "musicpase": __version__,
        "precision": precision,
        "device": device,
        "sample_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "embedding_dim": config.embedding_dim,
    }


def as_sounds(waveform: Waveform | Sequence[Waveform]) -> tuple[list[NDArray[Any]], bool]:
    """The sounds in an argument of `embed`, and whether it was a single one."""
    if isinstance(waveform, (list, tuple)):
        return [as_array(sound) for sound in waveform], False
    array = as_array(cast(Waveform, waveform))
    return (list(array), False) if array.ndim == 3 else ([array], True)


@overload
def load_encoder(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_seconds: float | None = None,
    trainable: Literal[False] = False,
) -> Encoder: ...


@overload
def load_encoder(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: str = "auto",
    trainable: Literal[True],
) -> PASE: ...


def load_encoder(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_seconds: float | None = None,
    trainable: bool = False,
) -> Encoder | PASE:
    """Load an encoder.

    Args:
        name_or_path: a published model's name, a folder or file with weights, or a Hub repository `owner/name`.
        revision: of the Hub repository: branch, tag or commit.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best there is.
        precision: "fp32", "bf16", "fp16" (GPU only), or "auto": bf16 where the device computes in it natively.
        batch_seconds: seconds of audio computed at once; memory grows with it.
        trainable: return the plain `torch.nn.Module` in training mode instead,
            `(batch, samples) -> (batch, embedding_dim, frames)`.

    Raises:
        ModelError: the weights cannot be found, read or trusted.
        ConfigError: the device or the precision is not to be had here.

    Example:
        >>> import numpy as np
        >>> encoder = load_encoder(device="cpu")
        >>> encoder.embed(np.zeros(16000), sample_rate=16000).shape
        (512,)
        >>> encoder.frames(np.zeros((2, 44100)), sample_rate=44100).embedding.shape
        (100, 512)
    """
    where = pick_device(device)
    if not trainable:
        precision = pick_precision(precision, where)
    module, record = load_module(os.fspath(name_or_path), revision=revision)
    if trainable:
        return module.to(where).train()
    return Encoder(module, record, where, precision, strip_seconds(batch_seconds, where.type))


def strip_seconds(seconds: float | None, device: str) -> float:
    """Seconds of audio computed at once: as asked for, within reason, or the default of a device."""
    seconds = STRIP_SECONDS[device] if seconds is None else seconds
    if not 0.25 <= seconds <= LONGEST_STRIP_S:
        raise ConfigError(f"batch-seconds is {seconds:g}: it must lie between 0.25 and {LONGEST_STRIP_S}")
    return seconds

"""All targets of a batch in one pass that shares the spectra; and a function for each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from musicpase.config import SAMPLE_RATE
from musicpase.errors import ConfigError
from musicpase.features.config import FeatureConfig
from musicpase.features.framing import by_clip, check_waveform
from musicpase.features.harmony import Chroma
from musicpase.features.rhythm import Tempogram
from musicpase.features.spectrum import MelSpectrum, Mfcc, PowerSpectrum, power_to_db
from musicpase.features.voicing import Prosody
from musicpase.precision import exact_float32

__all__ = ["FEATURES", "Features", "chroma", "lps", "mfcc", "prosody", "tempogram"]

FEATURES = ("lps", "prosody", "mfcc", "chroma", "tempogram")
"""Names that `Features` knows, in the order of the paper's worker letters (L, P, M, C, T)."""


class Features(nn.Module):
    """Computes targets equal to librosa's, for a batch, on the waveform's device.

    Oracle: librosa 0.11 at `sr=16000, hop_length=160, n_fft=2048` (`tests/parity`). Filter banks come from
    librosa when this is built and stay on the module, so build it once. Log power spectrum, MFCC, chroma (for a
    fixed tuning), tempogram and energy are differentiable.

    Target frame i is centred on sample `160 * i` (librosa's centred grid less its last frame), encoder frame i on
    sample `160 * i + 150.5`: the encoder's frame lies 9.4 ms later. Every target window (128 ms) contains both.

    Args:
        names: which of `FEATURES` to compute.
        config: what to compute them with.

    Raises:
        ConfigError: if a name is not known.
        MissingExtraError: if librosa is not installed.
    """

    def __init__(self, names: Sequence[str] = FEATURES, config: FeatureConfig | None = None) -> None:
        super().__init__()
        self.config = config or FeatureConfig()
        for name in names:
            if name not in FEATURES:
                raise ConfigError(f"no feature is called {name!r}; there are {', '.join(FEATURES)}")
        self.names = tuple(names)
        wanted = set(names)
        self.power = PowerSpectrum(self.config) if wanted - {"prosody"} else None
        self.mel = MelSpectrum(self.config) if wanted & {"mfcc", "tempogram"} else None
        self.mfcc = Mfcc(self.config) if "mfcc" in wanted else None
        self.chroma = Chroma(self.config) if "chroma" in wanted else None
        self.tempogram = Tempogram(self.config) if "tempogram" in wanted else None
        self.prosody = Prosody(self.config) if "prosody" in wanted else None

    def forward(self, waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> dict[str, Tensor]:
        """Compute the targets.

        Args:
            waveform: `(batch, samples)` float32, at least 2048 samples, finite.
            sample_rate: the waveform's rate [Hz]; anything but 16000 is refused.

        Returns:
            For each name `(batch, rows, samples // 160)` float32; rows: lps 1025 [dB], prosody 4 (zero crossing
            rate, energy, voiced probability, F0 in Hz or 0 where unvoiced), mfcc 20, chroma 12, tempogram 384.

        Raises:
            AudioError: if the waveform is too short, not finite, not float32 or of another rate.
        """
        check_waveform(waveform, sample_rate, self.config)
        with exact_float32, torch.autocast(waveform.device.type, enabled=False):
            found = by_clip(self._spectral, waveform)
            if self.prosody is not None:
                found["prosody"] = self.prosody(waveform)[..., : self._frames(waveform)]
        return {name: found[name].contiguous() for name in self.names}

    def _frames(self, waveform: Tensor) -> int:
        """How many frames the encoder has."""
        return waveform.shape[1] // self.config.hop_length

    def _spectral(self, waveform: Tensor) -> dict[str, Tensor]:
        """Compute what starts from the spectrum: `(clips, rows, frames)` for each name."""
        if self.power is None:
            return {}
        found: dict[str, Tensor] = {}
        power = self.power(waveform)
        if "lps" in self.names:
            found["lps"] = power_to_db(power)
        if self.chroma is not None:
            found["chroma"] = self.chroma(power)
        if self.mel is not None:
            mel_db = self.mel(power)
            if self.mfcc is not None:
                found["mfcc"] = self.mfcc(mel_db)
            if self.tempogram is not None:
                found["tempogram"] = self.tempogram(mel_db)
        return {name: target[:, : self._frames(waveform)].transpose(1, 2) for name, target in found.items()}


def _one(name: str, waveform: Tensor, sample_rate: int) -> Tensor:
    found: dict[str, Tensor] = Features((name,)).to(waveform.device)(waveform, sample_rate=sample_rate)
    return found[name]


def lps(waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Log power spectrum `(batch, 1025, samples // 160)` [dB]; like `Features`, which is faster if kept."""
    return _one("lps", waveform, sample_rate)


def mfcc(waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """MFCC `(batch, 20, samples // 160)`; like `Features`, which is faster if kept."""
    return _one("mfcc", waveform, sample_rate)


def chroma(waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Chroma `(batch, 12, samples // 160)` in [0, 1], C first; like `Features`, which is faster if kept."""
    return _one("chroma", waveform, sample_rate)


def tempogram(waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Tempogram `(batch, 384, samples // 160)` in [0, 1]; like `Features`, which is faster if kept."""
    return _one("tempogram", waveform, sample_rate)


def prosody(waveform: Tensor, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Prosody `(batch, 4, samples // 160)`; like `Features`, which is faster if kept."""
    return _one("prosody", waveform, sample_rate)

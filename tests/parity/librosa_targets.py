"""What librosa says: one function per target, on the encoder's grid; and how far two answers are apart."""

import warnings
from typing import Any, NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray

from musicpase.features import FeatureConfig, PyinConfig

Array = NDArray[np.floating[Any]]

# Largest absolute error that each target may have.
TOLERANCE = {"lps": 1e-3, "mfcc": 2e-3, "chroma": 1e-3, "tempogram": 1e-3, "zcr": 1e-6, "rms": 1e-6}


class Tracked(NamedTuple):
    f0: Array  # (frames,) Hz, 0 where unvoiced
    probability: Array  # (frames,)


def spectral_targets(waveform: Array, config: FeatureConfig | None = None) -> dict[str, Array]:
    """Every target but pYIN's, `(rows, samples // hop_length)` each."""
    c = config or FeatureConfig()
    grid: dict[str, Any] = {"sr": c.sample_rate, "hop_length": c.hop_length}
    with warnings.catch_warnings():
        # librosa warns when silence has no tuning; the answer, 0, is what is compared
        warnings.filterwarnings("ignore", message="Trying to estimate tuning from empty frequency set")
        spectrum = librosa.stft(waveform, n_fft=c.n_fft, hop_length=c.hop_length)
        onsets = librosa.onset.onset_strength(y=waveform, n_fft=c.n_fft, n_mels=c.n_mels, **grid)
        found = {
            "lps": librosa.power_to_db(np.abs(spectrum) ** 2),
            "mfcc": librosa.feature.mfcc(y=waveform, n_fft=c.n_fft, n_mels=c.n_mels, n_mfcc=c.n_mfcc, **grid),
            "chroma": librosa.feature.chroma_stft(y=waveform, n_fft=c.n_fft, n_chroma=c.n_chroma, **grid),
            "tempogram": librosa.feature.tempogram(onset_envelope=onsets, win_length=c.tempogram_lags, **grid),
            "zcr": librosa.feature.zero_crossing_rate(waveform, frame_length=c.n_fft, hop_length=c.hop_length),
            "rms": librosa.feature.rms(y=waveform, frame_length=c.n_fft, hop_length=c.hop_length),
        }
    frames = len(waveform) // c.hop_length
    assert all(value.shape[1] == 1 + frames for value in found.values())
    return {name: value[:, :frames].astype(np.float32) for name, value in found.items()}


def pitch(waveform: Array, config: FeatureConfig | None = None) -> Tracked:
    """pYIN on the encoder's grid."""
    c = config or FeatureConfig()
    p: PyinConfig = c.pyin
    f0, voiced, probability = librosa.pyin(
        waveform,
        sr=c.sample_rate,
        hop_length=c.hop_length,
        fmin=p.fmin,
        fmax=p.fmax,
        frame_length=p.frame_length,
        n_thresholds=p.n_thresholds,
        beta_parameters=p.beta_parameters,
        boltzmann_parameter=p.boltzmann_parameter,
        resolution=p.resolution,
        max_transition_rate=p.max_transition_rate,
        switch_prob=p.switch_prob,
        no_trough_prob=p.no_trough_prob,
    )
    frames = len(waveform) // c.hop_length
    return Tracked(np.where(voiced, f0, 0.0)[:frames], probability[:frames])


class PitchAgreement(NamedTuple):
    """Counts of frames, to be added up over clips."""

    frames: int
    voicing_differs: int
    voiced_in_both: int
    f0_differs: int  # by more than 1 cent
    probability_differs: int  # by more than 1e-3

    def check(self) -> None:
        """The issue's limits."""
        assert self.voicing_differs <= 0.001 * self.frames, self
        assert self.f0_differs <= 0.005 * self.voiced_in_both, self
        assert self.probability_differs <= 0.005 * self.frames, self


def compare_pitch(ours: Tracked, oracle: Tracked) -> PitchAgreement:
    voiced, expected = ours.f0 > 0, oracle.f0 > 0
    both = voiced & expected
    cents = 1200 * np.log2(ours.f0[both] / oracle.f0[both])
    return PitchAgreement(
        frames=len(voiced),
        voicing_differs=int((voiced != expected).sum()),
        voiced_in_both=int(both.sum()),
        f0_differs=int((np.abs(cents) > 1).sum()),
        probability_differs=int((np.abs(ours.probability - oracle.probability) > 1e-3).sum()),
    )


def add_up(parts: list[PitchAgreement]) -> PitchAgreement:
    return PitchAgreement(*(sum(counts) for counts in zip(*parts, strict=True)))

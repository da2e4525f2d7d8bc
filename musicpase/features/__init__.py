"""Pretext targets equal to librosa's, batched, on any device."""

from musicpase.features.config import FeatureConfig, PyinConfig
from musicpase.features.extractor import FEATURES, Features, chroma, lps, mfcc, prosody, tempogram

__all__ = ["FEATURES", "FeatureConfig", "Features", "PyinConfig", "chroma", "lps", "mfcc", "prosody", "tempogram"]

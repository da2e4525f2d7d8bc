"""Audio files: find them, decode them in blocks, mix to mono, resample; no torch in here."""

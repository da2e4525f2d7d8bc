"""Hand-crafted descriptors of music as batched torch functions, equal to librosa's."""

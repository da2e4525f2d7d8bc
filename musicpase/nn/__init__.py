"""The PASE and PASE+ encoders as plain PyTorch modules."""

from musicpase.nn.encoder import PASE, PASEPlus, frame_times, receptive_field

__all__ = ["PASE", "PASEPlus", "frame_times", "receptive_field"]

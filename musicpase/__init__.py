"""Music embeddings from a PASE+ encoder pre-trained by multi-task self-supervision (arXiv 2102.03229)."""

__version__ = "0.1.0"

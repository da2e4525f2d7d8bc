"""What `musicpase classify` adds to `embed`: from embeddings to the labels that are given."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicpase.downstream.heads import Classifier
from musicpase.downstream.label_files import read_labels, write_labels
from musicpase.downstream.metrics import THRESHOLD
from musicpase.inference.outputs import Table
from musicpase.inference.pipeline import Result
from musicpase.inference.sinks import Job, MatrixSink
from musicpase.inference.workspace import Discarding

__all__ = ["LabelSink", "Labeller"]

DIGITS = 6  # of a probability: what is written is what is compared, so that results can be read back and continued
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Labeller:
    """A head, and which of its classes are given; made by `Labeller.new`.

    Attributes:
        classifier: the head.
        top: so many classes at most, the likeliest first.
        threshold: of a probability that they must exceed; None for no such condition.
    """

    classifier: Classifier
    top: int
    threshold: float | None

    @classmethod
    def new(cls, classifier: Classifier, top: int | None = None, threshold: float | None = None) -> "Labeller":
        """By default the best class; of a multi-label head all above `THRESHOLD`.

        Args:
            classifier: the head.
            top: so many classes, whatever their probability.
            threshold: all classes above it; with `top` the likeliest of them.
        """
        every = len(classifier.config.classes)
        if top is None and threshold is None:
            single = classifier.config.kind == "single"
            return cls(classifier, 1, None) if single else cls(classifier, every, THRESHOLD)
        return cls(classifier, every if top is None else top, threshold)

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on beside the embeddings, for its provenance."""
        config = self.classifier.config
        named = {"head": config.name, "head_sha256": self.classifier.sha256, "classes": list(config.classes)}
        return {**named, "top": self.top, "threshold": self.threshold}

    def choose(self, row: Rows) -> list[tuple[str, float]]:
        """Labels and probabilities to give of probabilities `(classes,)`; of equals the first class first."""
        values = np.round(row.astype(np.float64), DIGITS)
        likeliest = np.argsort(-values, kind="stable")[: self.top].tolist()
        found = [(self.classifier.config.classes[place], float(values[place])) for place in likeliest]
        return found if self.threshold is None else [label for label in found if label[1] > self.threshold]

    def label(self, embeddings: Rows) -> list[list[tuple[str, float]]]:
        """Labels and probabilities to give of each embedding, `(n, embedding_dim)`."""
        return [self.choose(row) for row in self.classifier.predict(embeddings)]

    def classify(self, table: Table) -> Table:
        """An output of `musicpase embed` with probabilities in the place of its embeddings."""
        return replace(
            table,
            blocks=lambda: map(self.classifier.predict, table.blocks()),
            provenance={**table.provenance, **self.settings},
            width=len(self.classifier.config.classes),
        )


class LabelSink(MatrixSink):
    """As `MatrixSink`, with probabilities in the place of embeddings and labels as the result.

    Args:
        job: what the run is about; its width is the number of classes.
        path: of the result.
        labeller: makes the labels.
        resume: see `MatrixSink`.
        discarding: see `MatrixSink`.
    """

    def __init__(
        self, job: Job, path: Path, labeller: Labeller, *, resume: bool, discarding: Discarding | None = None
    ) -> None:
        self.labeller = labeller
        super().__init__(job, path, resume=resume, discarding=discarding)

    def write(self, result: Result) -> None:
        """Store a file's probabilities."""
        super().write(replace(result, rows=self.labeller.classifier.predict(result.rows)))

    def read(self, path: Path) -> Table:
        """What is there of an earlier run; errors as for `read_labels`."""
        return read_labels(path, self.labeller.classifier.config.classes)

    def save(self, table: Table) -> None:
        """Write the labels."""
        write_labels(self.path, table, self.labeller.choose)

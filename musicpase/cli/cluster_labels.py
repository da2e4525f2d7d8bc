"""`musicpase classify --engine ray`: shards with labels in the place of embeddings."""

from typing import TYPE_CHECKING

from musicpase.cli.cluster import ClusterRun
from musicpase.cli.labelling import Labelling

if TYPE_CHECKING:
    from musicpase.distributed.shards import Content
    from musicpase.downstream.labels import Labeller
    from musicpase.inference.sinks import Job


class ClusterClassification(Labelling, ClusterRun):
    """The cluster embeds; the command, through which all rows go anyway, applies the head."""

    def content(self, job: "Job") -> "Content":
        """Labels."""
        return labels_of(self.labeller, job.width)


def labels_of(labeller: "Labeller", width: int) -> "Content":
    """Rows as `labels.parquet` has them: one for each label of a vector of this width."""
    import numpy as np
    import pyarrow as pa

    from musicpase.distributed.shards import Content

    def make(vectors: "np.ndarray") -> "tuple[np.ndarray, dict[str, pa.Array]]":
        none: list[tuple[str | None, float | None]] = [(None, None)]
        given = [[*labels] or none for labels in labeller.label(vectors)]
        names, values = zip(*(line for lines in given for line in lines), strict=True)
        counts = np.array([len(lines) for lines in given], np.int64)
        return counts, {"label": pa.array(names, pa.string()), "probability": pa.array(values, pa.float64())}

    return Content(width, [("label", pa.string()), ("probability", pa.float64())], make)

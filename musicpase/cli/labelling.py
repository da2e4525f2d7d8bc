"""What `musicpase classify` adds to a run, wherever the work is done."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from musicpase.cli.run import Run
from musicpase.errors import ModelError

if TYPE_CHECKING:
    from musicpase.audio import Found
    from musicpase.downstream.labels import Labeller
    from musicpase.hub import ModelRecord
    from musicpase.inference.pooling import Pooling
    from musicpase.inference.sinks import Job


class Labelling(Run):
    """A run with a head; to be mixed into one that embeds."""

    done = "classified"

    def __init__(self, output: Any, values: dict[str, Any], labeller: "Labeller") -> None:
        model = values["model"] or labeller.classifier.config.encoder
        super().__init__(output, {**values, "model": model, "frames": False, "shard": None, "hash_files": False})
        self.labeller = labeller
        self.model_named = values["model"] is not None
        self.loaded = False

    def load(self) -> Any:
        """The encoder that the head belongs to."""
        config = self.labeller.classifier.config
        try:
            return super().load()
        except ModelError as error:
            if self.model_named or self.loaded:
                raise
            raise ModelError(f"{error}; head {config.name} belongs to it: say with --model where it is") from None

    def check(self, record: "ModelRecord") -> None:
        """Refuse another encoder."""
        self.loaded = True
        self.labeller.classifier.check(record)

    def job(self, found: "Found", encoder: Any, pooling: "Pooling") -> "Job":
        """As for embedding, with what makes the labels."""
        job = super().job(found, encoder, pooling)
        return replace(job, settings={**job.settings, **self.labeller.settings})

"""Publish weights and their model card on the Hugging Face Hub, or write the same folder to look at.

    python scripts/publish_to_hub.py --dry-run FOLDER [--model MODEL]
    python scripts/publish_to_hub.py --repo OWNER/NAME [--model MODEL] [--private]

MODEL is anything `musicpase.load_module` takes. Log in first with `hf auth login`. At the end it prints the lines
that `RECORDS` in `musicpase/hub.py` needs. An initialisation is only published with --untrained.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, ModelCardData

from musicpase.errors import MusicpaseError
from musicpase.hub import DEFAULT_MODEL, ModelRecord, UntrainedWeightsWarning, load_module
from musicpase.nn import PASE
from musicpase.weights import weights_bytes

CARD = Path(__file__).parents[1] / "model_card.md"
SPDX_TO_HUB = {"MIT": "mit", "CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "Apache-2.0": "apache-2.0"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--dry-run", type=Path, metavar="FOLDER", help="write the folder, upload nothing")
    target.add_argument("--repo", metavar="OWNER/NAME", help="repository to create or update")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--private", action="store_true", help="create the repository as private")
    parser.add_argument("--untrained", action="store_true", help="publish weights that are an initialisation")
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntrainedWeightsWarning)
        module, record = load_module(options.model)
    if options.dry_run:
        write_folder(options.dry_run, module, record)
        print(f"wrote {options.dry_run}")
        return 0
    if not record.trained and not options.untrained:
        print(f"{record.name} is not trained; publish it with --untrained if that is meant", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), module, record)
        api = HfApi()
        repo_id = api.create_repo(options.repo, private=options.private, exist_ok=True).repo_id
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=f"Publish {record.name}")
    print(f'repo_id="{repo_id}",\nrevision="{commit.oid}",\nsha256="{digest(module)}",')
    return 0


def write_folder(folder: Path, module: PASE, record: ModelRecord) -> None:
    """The repository as a folder: config.json, model.safetensors, README.md."""
    folder.mkdir(parents=True, exist_ok=True)
    model_card(record).save(folder / "README.md")  # first: save_pretrained would write a card of its own
    module.save_pretrained(folder)


def model_card(record: ModelRecord) -> ModelCard:
    """`model_card.md` under the front matter by which the Hub files it."""
    data = ModelCardData(
        license=SPDX_TO_HUB.get(record.licence, "other"),
        library_name="musicpase",
        pipeline_tag="feature-extraction",
        tags=["audio", "music", "music-information-retrieval", "embeddings", "self-supervised-learning", "pase"],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{CARD.read_text(encoding='utf-8')}")


def digest(module: PASE) -> str:
    """SHA-256 of the `model.safetensors` that was written."""
    import hashlib

    return hashlib.sha256(weights_bytes(module.state_dict())).hexdigest()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MusicpaseError as error:
        sys.exit(f"publish_to_hub: {error}")

"""Laws of downloads (R15, I5): the real client against a server on loopback; never a wrong model, always a reason."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from musicpase import hub as records
from musicpase.errors import ModelError
from musicpase.hub import load_module
from musicpase.nn import PASEPlus
from tests.unit.hub_server import COMMIT, REPO, Hub, serve
from tests.unit.models import small_folder
from tests.unit.test_hub import assert_same


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, and the client in this process pointed to it, with an empty cache and no patience."""
    with serve(Hub(folder)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server
        huggingface_hub.close_session()


def refused(name: str = REPO, revision: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        load_module(name, revision=revision)
    message = str(caught.value)
    assert "\n" not in message
    return message


def record_of(folder: Path) -> records.ModelRecord:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return records.ModelRecord("published", True, sha256, repo_id=REPO, revision=COMMIT)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_repository_loads_and_both_files_come_from_one_commit(hub: Hub, folder: Path, revision: str | None) -> None:
    module, record = load_module(REPO, revision=revision)
    assert_same(module, load_module(folder)[0])
    assert record.name == REPO
    assert record.sha256 == hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    assert COMMIT in record.source
    assert hub.requests[-1] == f"GET /{REPO}/resolve/{COMMIT}/model.safetensors"
    assert_same(PASEPlus.from_pretrained(REPO, revision=revision), module)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("truncated", "download failed"),
        ("flipped", "damaged: the weights have sha256"),
        ("missing", "no config.json and model.safetensors in it"),
        ("no_repository", "no such repository, or a private one"),
        ("private", "hf auth login"),
        ("gated", "gated: accept its terms"),
        ("html", "the answer is not the Hub's"),
        ("html_body", "an HTML or XML page"),
    ],
)
def test_every_failure_is_named_and_nothing_broken_is_loaded_later(hub: Hub, mode: str, reason: str) -> None:
    hub.mode = mode
    message = refused()
    assert reason in message
    assert REPO in message or REPO.replace("/", "--") in message
    # What a broken download left in the cache must not pass for the model afterwards, online or not.
    damaged_in_cache = mode in ("flipped", "html_body")
    hub.mode = "ok"
    if damaged_in_cache:
        assert refused() == message
        advice = re.search(r"delete (\S+) and try again", message)
        assert advice is not None
        shutil.rmtree(advice[1])
    load_module(REPO)


def test_unknown_revision_is_named(hub: Hub) -> None:
    assert "at revision v9: no such revision" in refused(revision="v9")


def test_a_hub_out_of_reach_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    )
    assert "offline or out of reach" in refused()


def test_published_weights_are_pinned_and_their_sha256_is_checked(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of(folder)
    monkeypatch.setattr(records, "RECORDS", (record,))
    module, found = load_module("published")
    assert found is record
    assert all(f"/resolve/{COMMIT}/" in request for request in hub.requests)
    assert_same(module, load_module("published", revision="main")[0])
    monkeypatch.setattr(records, "RECORDS", (dataclasses.replace(record, sha256="0" * 64),))
    assert "sha256" in refused("published")


def test_a_flipped_byte_in_the_cache_is_caught_for_published_weights(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORDS", (record_of(folder),))
    load_module("published")
    (blob,) = (path for path in Path(constants.HF_HUB_CACHE).rglob("blobs/*") if len(path.name) == 64)
    content = bytearray(blob.read_bytes())
    content[-9] ^= 4
    blob.write_bytes(content)
    message = refused("published")
    assert "damaged" in message
    advice = re.search(r"delete (\S+) and try again", message)
    assert advice is not None
    shutil.rmtree(advice[1])
    load_module("published")


def test_offline_uses_a_warm_cache_and_says_what_to_do_about_a_cold_one(folder: Path, tmp_path: Path) -> None:
    """In processes of their own, because the client reads HF_ENDPOINT and HF_HUB_OFFLINE once."""
    program = (
        "import sys; from musicpase.hub import load_module; from musicpase.errors import ModelError\n"
        f"try: print(load_module({REPO!r})[1].sha256)\n"
        "except ModelError as error: sys.exit(str(error))"
    )

    def run(endpoint: str, offline: str) -> subprocess.CompletedProcess[str]:
        settings = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    with serve(Hub(folder)) as hub:
        cold = run(hub.endpoint, "1")
        assert cold.returncode == 1
        assert "not in the cache" in cold.stderr
        assert hub.requests == []
        first = run(hub.endpoint, "0")
        assert first.stdout.strip() == hashlib.sha256(hub.files["model.safetensors"]).hexdigest(), first.stderr
        requests = len(hub.requests)
        warm = run(hub.endpoint, "1")
        assert (warm.stdout, len(hub.requests)) == (first.stdout, requests)
    assert run(hub.endpoint, "0").stdout == first.stdout, "a warm cache must do when the Hub is out of reach"

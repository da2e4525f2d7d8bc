"""A Hugging Face Hub on loopback: one repository, one commit, and the ways a real one can fail."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = "someone/some-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HTML = b"<!DOCTYPE html><html><title>Please log in to the network</title></html>"


class Hub:
    """The server's state: its files, how it behaves, and the requests it got.

    `mode` is one of ok, truncated (the body ends early), flipped (one byte of the weights differs from what the
    headers announce), missing (404 for the weights), no_repository, gated, private, html (status 200 and a page),
    html_body (headers of the Hub, body of a proxy).
    """

    def __init__(self, folder: Path) -> None:
        self.files = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
        self.mode = "ok"
        self.requests: list[str] = []
        self.endpoint = ""


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        repository, _, rest = self.path[1:].partition("/resolve/")
        revision, _, name = rest.partition("/")
        error = self.error(hub.mode, repository, revision, name)
        if error is not None:
            status, code = error
            self.reply(status, {"X-Error-Code": code, "X-Error-Message": code, "X-Repo-Commit": COMMIT})
        elif hub.mode == "html":
            self.reply(200, {"Content-Type": "text/html"}, HTML)
        else:
            self.file(name, hub.files[name], hub.mode)

    @staticmethod
    def error(mode: str, repository: str, revision: str, name: str) -> tuple[int, str] | None:
        """Status and the Hub's error code, if the answer is one."""
        codes = {"no_repository": (404, "RepoNotFound"), "gated": (403, "GatedRepo"), "private": (401, "")}
        if mode in codes:
            return codes[mode]
        if repository != REPO:
            return 404, "RepoNotFound"
        if revision not in ("main", COMMIT):
            return 404, "RevisionNotFound"
        return (404, "EntryNotFound") if mode == "missing" and name == "model.safetensors" else None

    def file(self, name: str, content: bytes, mode: str) -> None:
        weights = name == "model.safetensors"
        # As on the Hub: a large file's tag is its sha256, a small one's its git blob's sha1.
        digest = hashlib.sha256 if weights else hashlib.sha1
        headers = {"ETag": f'"{digest(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        body = content
        if weights and mode == "truncated":
            headers["Content-Length"], body = str(len(content)), content[: len(content) // 2]
        elif weights and mode == "flipped":
            body = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
        elif mode == "html_body":
            body = HTML.ljust(len(content))
        self.reply(200, headers, body)

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    server = HubServer(hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

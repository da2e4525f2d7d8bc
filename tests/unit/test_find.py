"""Discovery: every real file once, in an order that nothing but the names decides, and nothing ever hangs."""

import io
import os
import sys
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from musicpase.audio import Found, find_audio, load_audio
from musicpase.errors import ConfigError, MissingExtraError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def paths(found: Found) -> list[str]:
    return [source.path for source in found.sources]


def names(found: Found) -> list[str]:
    return [source.name for source in found.sources]


def test_a_folder_is_searched_recursively_for_audio_suffixes_of_any_case() -> None:
    touch("songs/b.WAV", "songs/a/c.mp3", "songs/cover.jpg", "songs/._b.WAV", "songs/.DS_Store", "songs/x.wav/y.flac")
    touch("songs/.git/z.wav", "songs/...And Justice/d.ogg", "songs/.38 Special/e.ogg")
    found = find_audio(["songs"])
    assert paths(found) == [
        "songs/...And Justice/d.ogg",
        "songs/.38 Special/e.ogg",
        "songs/a/c.mp3",
        "songs/b.WAV",
        "songs/x.wav/y.flac",
    ]
    assert names(found)[-1] == "x.wav/y.flac"
    assert (found.failures, found.ignored) == ((), 4)


def test_a_named_file_is_taken_whatever_its_name_says() -> None:
    touch("song", "cover.jpg")
    assert paths(find_audio(["song", "cover.jpg"])) == ["cover.jpg", "song"]


def test_order_is_bytewise_and_independent_of_the_arguments() -> None:
    touch("s/b.wav", "s/B.wav", "s/é.wav", "s/z.wav", "s/a/q.wav")
    expected = ["s/B.wav", "s/a/q.wav", "s/b.wav", "s/z.wav", "s/é.wav"]
    assert paths(find_audio(["s"])) == expected
    assert paths(find_audio(list(reversed(expected)))) == expected
    assert paths(find_audio(["s/z.wav", "s", "s/a"])) == expected


def test_names_are_safe_and_unique_with_several_roots(here: Path) -> None:
    touch("one/01.wav", "two/01.wav", "two/deep/01.wav", "work/x.wav", "outside.wav")
    assert names(find_audio(["one", "two"])) == ["one/01.wav", "two/01.wav", "two/deep/01.wav"]
    assert names(find_audio(["one/01.wav", "two/01.wav"])) == ["one/01.wav", "two/01.wav"]
    assert names(find_audio([here / "two" / "01.wav"])) == ["01.wav"]
    os.chdir("work")
    found = find_audio(["../outside.wav", "x.wav", "../one/../one/01.wav"])
    assert paths(found) == ["../one/../one/01.wav", "../outside.wav", "x.wav"]
    assert names(found) == ["one/01.wav", "outside.wav", "work/x.wav"]
    assert names(find_audio(["../../" + here.name + "/outside.wav"])) == ["outside.wav"]


def test_names_are_unique_behind_a_link_and_back() -> None:
    touch("s/x.wav", "other/x.wav", "other/deep/y.wav")
    Path("s/link").symlink_to("../other/deep")
    found = find_audio(["s/x.wav", "s/link/../x.wav"])  # the latter is other/x.wav
    assert sorted(names(found)) == ["other/x.wav", "s/x.wav"]


def test_each_real_file_once_under_its_own_name() -> None:
    touch("s/real/x.wav", "elsewhere/out.wav")
    Path("s/a_link.wav").symlink_to("real/x.wav")
    Path("s/a_folder").symlink_to("real")
    Path("s/loop").symlink_to(".")
    Path("s/real/up").symlink_to("..")
    Path("s/out").symlink_to("../elsewhere")
    Path("s/self.wav").symlink_to("self.wav")
    Path("s/dangling.mp3").symlink_to("gone.mp3")
    Path("s/notes.txt").symlink_to("gone.txt")
    found = find_audio(["s"])
    assert paths(found) == ["s/out/out.wav", "s/real/x.wav"]
    assert found.failures[0] == ("s/dangling.mp3", "dangling link")
    assert found.failures[1][0] == "s/self.wav"
    assert found.ignored == 1
    assert paths(find_audio(["s/**/*.wav"])) == ["s/a_link.wav"]  # a pattern names links as much as files


def test_special_files_are_failures_and_never_opened() -> None:
    Path("s").mkdir()
    os.mkfifo("s/pipe.wav")
    Path("s/zero.wav").symlink_to("/dev/zero")
    found = find_audio(["s", "s/pipe.wav", "/dev/zero", "gone.wav", "nul\0.wav"])
    assert dict(found.failures) == {
        "s/pipe.wav": "not a regular file (FIFO)",
        "s/zero.wav": "not a regular file (device)",
        "/dev/zero": "not a regular file (device)",
        "gone.wav": "No such file or directory",
        "nul\0.wav": "not a valid path",
    }
    assert found.sources == ()


def test_an_unreadable_folder_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("s/a/x.wav", "s/b/y.wav")
    scandir = os.scandir

    def refuse(path: str) -> object:  # the superuser may read everything: refuse in the system's place
        if path == "s/a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_audio(["s"])
    assert paths(found) == ["s/b/y.wav"]
    assert found.failures == (("s/a", "Permission denied"),)


def test_globs_are_expanded_when_the_shell_did_not() -> None:
    touch("s/a/1.wav", "s/b/2.wav", "s/b/c/3.mp3", "s/b/cover.jpg", "s/[x].wav")
    assert paths(find_audio(["s/*/*.wav"])) == ["s/a/1.wav", "s/b/2.wav"]
    assert paths(find_audio(["s/**/*.wav"])) == ["s/[x].wav", "s/a/1.wav", "s/b/2.wav"]
    assert paths(find_audio(["s/**/c/*"])) == ["s/b/c/3.mp3"]
    assert paths(find_audio(["s/[x].wav"])) == ["s/[x].wav"]
    assert find_audio(["s/*.xyz"]).failures == (("s/*.xyz", "no file matches the pattern"),)


def test_lists_by_line_or_nul_from_a_file_or_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"latin\xe9.wav")
    touch("a.wav", "b.wav", odd, "new\nline.wav")
    Path("list.txt").write_bytes(b"\xef\xbb\xbfb.wav\r\n\na.wav\nlatin\xe9.wav")
    assert paths(find_audio([], files_from="list.txt")) == ["a.wav", "b.wav", odd]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"new\nline.wav\0b.wav\0")))
    assert paths(find_audio(["-", "a.wav"])) == ["a.wav", "b.wav", "new\nline.wav"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b.wav\r\nlatin\xe9.wav\n")))
    assert paths(find_audio(["a.wav"], files_from="-")) == ["a.wav", "b.wav", odd]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"new\nline.wav\0b.wav\0")))
    assert paths(find_audio([], files_from="-")) == ["b.wav", "new\nline.wav"]
    with pytest.raises(ConfigError, match=r"gone\.txt: No such file"):
        find_audio([], files_from="gone.txt")


def test_hostile_names_come_back_byte_for_byte() -> None:
    hostile = [b"latin\xe9.wav", b"-rf.wav", b"$(x).wav", b"%s.wav", b"\x1b[31m.wav", b"=cmd.wav", b"a\nb.wav"]
    hostile += ["\u202egnp.wav".encode(), "cafe\u0301.wav".encode(), "café.wav".encode(), b"x" * 251 + b".wav"]
    Path("s").mkdir()
    for name in hostile:
        Path(os.fsdecode(b"s/" + name)).write_bytes(b"x")
    found = find_audio(["s"])
    assert [os.fsencode(path) for path in paths(found)] == sorted(b"s/" + name for name in hostile)
    assert [os.fsencode(name) for name in names(found)] == sorted(hostile)


def test_names_keep_colons() -> None:
    touch("s/a:b.wav", "s/ab.wav", "s/:ab.wav")
    assert names(find_audio(["s"])) == [":ab.wav", "a:b.wav", "ab.wav"]


def test_deep_folders() -> None:
    touch("s/" + "d/" * 60 + "x.wav")
    assert paths(find_audio(["s"])) == ["s/" + "d/" * 60 + "x.wav"]


def test_urls_are_sources_with_safe_unique_names() -> None:
    pytest.importorskip("fsspec")
    urls = ["http://h/a/../x.wav?k=1", "http://h/x.wav", "s3://bucket/%2E%2E/x.wav", "http://h//x.wav"]
    found = find_audio(urls)
    assert sorted(paths(found)) == sorted(urls)
    assert len(set(names(found))) == 4
    assert not any(part in ("", ".", "..") for name in names(found) for part in name.split("/"))


def test_a_url_without_fsspec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r'pip install "musicpase\[remote\]"'):
        find_audio(["https://example.org/x.wav"])


@pytest.fixture
def served() -> Iterator[str]:
    """A server on loopback: `/full/` lists a song, `/bad/` is an error of the server, all else is not there."""
    pytest.importorskip("aiohttp")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'<a href="x.wav">x</a> <a href="cover.jpg">y</a>' if self.path == "/full/" else b""
            self.send_response(200 if body else 500 if self.path == "/bad/" else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_url_that_gives_nothing_is_one_failure_and_the_others_go_on(served: str) -> None:
    found = find_audio([f"{served}/{name}" for name in ("full/", "gone/", "gone/*.wav", "bad/")])
    assert paths(found) == [f"{served}/full/x.wav"]
    nothing = "no audio there, or it cannot be listed"
    assert dict(found.failures) == {
        f"{served}/gone/": nothing,
        f"{served}/gone/*.wav": nothing,
        f"{served}/bad/": "HTTP status 500",
    }


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("gcs", "gcsfs")])
def test_a_missing_package_is_a_failure_that_names_it(
    scheme: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, package, None)
    touch("a.wav")
    url = f"{scheme}://bucket/songs/"
    found = find_audio([url, "a.wav"])
    assert paths(found) == ["a.wav"]
    assert found.failures == ((url, f'{scheme} URLs need {package}: pip install "musicpase[remote]"'),)
    with pytest.raises(MissingExtraError, match=f"need {package}: pip install"):
        load_audio(f"{scheme}://bucket/x.wav")


def test_whatever_fsspec_raises_is_one_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def fail(url: str) -> None:
        raise RuntimeError(f"{url}: no\nsuch thing")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    assert find_audio(["s3://b/"]).failures == (("s3://b/", r"no\nsuch thing"),)


def test_many_files_need_little_memory(here: Path) -> None:
    for number in range(3000):
        (here / f"{number:06d}.wav").touch()
    tracemalloc.start()
    found = find_audio([here])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.sources) == 3000
    assert peak / 3000 < 1500  # bytes; 4 kB a file is the contract for the whole run

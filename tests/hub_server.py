"""A small Hugging Face Hub over HTTP, for tests and `make hub-demo`.

It answers what huggingface_hub, timm, transformers and datasets ask with HF_HUB_DISABLE_XET=1:
repositories of models and data sets, commits, Git LFS, branches, tags, private repositories, and
one token that may do everything. It lives in memory.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from huggingface_hub import RepoCard

TOKEN = "hf_" + "ThisIsTheSecretOfTheTests"
_LARGE = (".safetensors", ".parquet", ".png")
_DATE = "2026-01-01T00:00:00.000Z"
_NAME = r"(?P<name>[\w.-]+/[\w.-]+?)"
_API = rf"/api/(?P<kind>models|datasets)/{_NAME}"
_FILES = rf"(?:/(?P<kind>datasets))?/{_NAME}"

Files = dict[str, bytes]


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        lost_answer: The next request of this number, the first being 0, or with this in its path
            is carried out, and answered with a proxy's error page.
        is_full: No large file finds room: 507.
        before_commit: Called once before the next commit, which is made only if it returns
            something; otherwise the connection ends.
    """

    lost_answer: int | str | None = None
    is_full: bool = False
    before_commit: Callable[[], object] | None = None


@dataclass
class Repo:
    """A repository.

    Attributes:
        private: Visibility.
        commits: Title of each commit, and all files as they are then.
        branches: Commits of each branch, oldest first.
        tags: Commit of each tag.
        uploads: Large files by their sha256.
    """

    private: bool
    commits: dict[str, tuple[str, Files]] = field(default_factory=dict)
    branches: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def commit(self, title: str, files: Files, branch: str = "main") -> str:
        """Add a commit to a branch and return its hash."""
        sha = hashlib.sha1(f"{title} {len(self.commits)} {id(self)}".encode()).hexdigest()
        self.commits[sha] = title, files
        self.branches.setdefault(branch, []).append(sha)
        return sha

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, tag or commit is, None if there is none."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return revision if revision in self.commits else self.tags.get(revision)


@dataclass
class Hub:
    """What all requests share.

    Attributes:
        repos: Repositories by kind, `models` or `datasets`, and name.
        gated: Models whose terms nobody has accepted: their files are refused.
        requests: Method and path of every request.
        faults: What goes wrong.
        address: Where it answers.
    """

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def files(self, name: str, kind: str = "models") -> Files:
        """Return the files on a repository's main branch."""
        repo = self.repos[kind, name]
        return repo.commits[repo.branches["main"][-1]][1]

    def commit_of(self, name: str, revision: str = "main") -> str:
        """Return the commit that a revision of a model is."""
        sha = self.repos["models", name].resolve(revision)
        assert sha is not None, f"{name} has no {revision}"
        return sha

    def titles(self, name: str, kind: str = "models", branch: str = "main") -> list[str]:
        """Return the titles of a branch's commits, oldest first."""
        repo = self.repos[kind, name]
        return [repo.commits[sha][0] for sha in repo.branches[branch]]

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make a model of these files, as anyone may who can push."""
        self.repos["models", name] = repo = Repo(private=False)
        repo.commit("initial commit", dict(files))

    def downloaded(self, name: str) -> set[str]:
        """Return which files of a model were asked for."""
        prefixes = (f"GET /{name}/resolve/", f"HEAD /{name}/resolve/")
        return {line.rsplit("/", 1)[-1] for line in self.requests if line.startswith(prefixes)}


class RefusedError(Exception):
    """An answer that is an error, as the Hub words it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: two wait for each other 40 ms
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing: `Hub.requests` has it."""

    def handle_request(self) -> None:
        """Answer a request."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.hub.lock:
            number = len(self.hub.requests)
            self.hub.requests.append(f"{self.command} {self.path}")
            try:
                status, content, headers = self.routed(body)
            except RefusedError as error:
                status, content = error.status, json.dumps({"error": error.text}).encode()
                headers = {"X-Error-Code": error.code, "X-Error-Message": error.text}
            except ConnectionAbortedError:
                self.close_connection = True
                return
        lost = self.hub.faults.lost_answer
        if number == lost or (isinstance(lost, str) and lost in self.path):
            self.hub.faults.lost_answer = None
            status, content, headers = 502, b"<html>the page of a proxy</html>", {}
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def routed(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Return status, content and headers of the answer."""
        url = urlsplit(self.path)
        for methods, pattern, route in _ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and self.command in methods:
                if self.command == "POST" and route != Handler.validate and not self.has_token:
                    raise RefusedError(401, "Unauthorized", "Invalid credentials")
                parts = {key: unquote(value) for key, value in match.groupdict().items() if value}
                answer = route(self, body, **parts)
                if isinstance(answer, tuple):
                    return answer
                return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}
        raise RefusedError(404, "NotFound", f"nothing answers {self.command} {self.path}")

    @property
    def has_token(self) -> bool:
        """Whether the request comes with the token."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repo(self, kind: str, name: str) -> Repo:
        """Return a repository that may be seen."""
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and not self.has_token):
            raise RefusedError(
                404 if self.has_token else 401, "RepoNotFound", "Repository not found"
            )
        return repo

    def revision(self, kind: str, name: str, revision: str) -> tuple[Repo, str, Files]:
        """Return a repository, a commit of it and its files."""
        repo = self.repo(kind, name)
        sha = repo.resolve(revision)
        if sha is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha, repo.commits[sha][1]

    def create(self, body: bytes) -> object:
        """POST /api/repos/create."""
        wish = json.loads(body)
        kind, name = f"{wish.get('type') or 'model'}s", f"{wish['organization']}/{wish['name']}"
        url = {"url": f"{self.hub.address}/{'' if kind == 'models' else 'datasets/'}{name}"}
        if (kind, name) in self.hub.repos:
            return 409, json.dumps(url | {"error": "You already created this repo"}).encode(), {}
        self.hub.repos[kind, name] = repo = Repo(private=wish.get("visibility") == "private")
        attributes = "".join(
            f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in _LARGE
        )
        repo.commit("initial commit", {".gitattributes": attributes.encode()})
        return url

    def validate(self, body: bytes) -> object:
        """POST /api/validate-yaml."""
        card = RepoCard(json.loads(body)["content"]).data
        if card.license and (card.license != "other" or card.get("license_name")):
            return {"errors": [], "warnings": []}
        return 400, b'{"errors": [{"message": "license must be a string"}]}', {}

    def preupload(self, body: bytes, kind: str, name: str, revision: str) -> object:
        """POST .../preupload/REVISION."""
        _, sha, files = self.revision(kind, name, revision)
        modes = []
        for path in (file["path"] for file in json.loads(body)["files"]):
            entry = _entry(path, files[path]) if path in files else {}
            mode = {"path": path, "uploadMode": "lfs" if path.endswith(_LARGE) else "regular"}
            oid = entry.get("lfs", entry).get("oid")
            modes.append({**mode, "shouldIgnore": False, "oid": oid})
        return {"files": modes, "commitOid": sha}

    def batch(self, body: bytes, name: str, kind: str = "models") -> object:
        """POST .../info/lfs/objects/batch."""
        objects, repo = json.loads(body)["objects"], self.repo(kind, name)
        for file in objects:
            if file["oid"] not in repo.uploads:
                place = f"{self.hub.address}/lfs/{kind}/{name}/{file['oid']}"
                file["actions"] = {"upload": {"href": place}}
        return {"transfer": "basic", "objects": objects}

    def upload(self, body: bytes, kind: str, name: str, sha256: str) -> object:
        """PUT /lfs/KIND/NAME/SHA256, an address that only who has the token got from `batch`."""
        if self.hub.faults.is_full:
            raise RefusedError(507, "InsufficientStorage", "no room is left on the Hub")
        if hashlib.sha256(body).hexdigest() != sha256:
            raise RefusedError(400, "BadRequest", "this is not the file of that hash")
        self.hub.repos[kind, name].uploads[sha256] = body
        return {}

    def commit(self, body: bytes, kind: str, name: str, revision: str) -> object:
        """POST .../commit/BRANCH."""
        repo, sha, present = self.revision(kind, name, revision)
        if (before := self.hub.faults.before_commit) is not None:
            self.hub.faults.before_commit = None
            if not before():
                raise ConnectionAbortedError
            sha = repo.branches[revision][-1]
        head, *changes = (json.loads(line) for line in body.splitlines() if line.strip())
        if head["value"].get("parentCommit") not in (None, sha):
            raise RefusedError(412, "PreconditionFailed", "A commit has happened since")
        files = dict(present)
        for key, value in ((change["key"], change["value"]) for change in changes):
            if key == "deletedFile":
                del files[value["path"]]
            elif key == "lfsFile":
                files[value["path"]] = repo.uploads[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        commit = repo.commit(head["value"]["summary"], files, revision)
        return {"commitOid": commit, "commitUrl": f"{self.hub.address}/{name}/commit/{commit}"}

    def info(self, _: bytes, kind: str, name: str, revision: str = "main") -> object:
        """GET /api/models/NAME[/revision/REVISION]."""
        repo, sha, files = self.revision(kind, name, revision)
        siblings = [{"rfilename": path} for path in sorted(files)]
        dates = {"lastModified": _DATE, "createdAt": _DATE}
        return {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, **dates}

    def tree(self, _: bytes, kind: str, name: str, revision: str, folder: str = "") -> object:
        """GET .../tree/REVISION[/FOLDER], all below it."""
        _, _, files = self.revision(kind, name, revision)
        inside = {path: files[path] for path in sorted(files) if path.startswith(folder)}
        parents = {str(parent) for path in inside for parent in PurePosixPath(path).parents}
        folders = [{"type": "directory", "path": path, "oid": "0" * 40} for path in parents - {"."}]
        return [*folders, *(_entry(path, content) for path, content in inside.items())]

    def name_commit(self, body: bytes, kind: str, name: str, what: str, revision: str) -> object:
        """POST .../tag/REVISION and .../branch/NAME."""
        repo, sha, _ = self.revision(kind, name, revision if what == "tag" else "main")
        new = json.loads(body)["tag"] if what == "tag" else revision
        if new in (repo.tags if what == "tag" else repo.branches):
            raise RefusedError(409, "Conflict", f"{new} is there already")
        if what == "tag":
            repo.tags[new] = sha
        else:
            repo.branches[new] = list(repo.branches["main"])
        return {}

    def resolve(
        self, _: bytes, name: str, revision: str, path: str, kind: str = "models"
    ) -> object:
        """GET or HEAD a file."""
        _, sha, files = self.revision(kind, name, revision)
        if name in self.hub.gated:
            raise RefusedError(403, "GatedRepo", f"Access to model {name} is restricted")
        if path not in files:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        content, entry = files[path], _entry(path, files[path])
        etag = f'"{entry.get("lfs", entry)["oid"]}"'
        headers = {"X-Repo-Commit": sha, "ETag": etag}
        return 200, content, headers


def _entry(path: str, content: bytes) -> dict[str, Any]:
    """Return what a tree says of a file."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "oid": oid, "size": len(content)}
    if not path.endswith(_LARGE):
        return entry
    sha256 = hashlib.sha256(content).hexdigest()
    return entry | {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}


_ROUTES: list[tuple[str, str, Callable[..., object]]] = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", Handler.tree),
    ("POST", rf"{_API}/(?P<what>tag|branch)/(?P<revision>[^/]+)", Handler.name_commit),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", _API, Handler.info),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", rf"/lfs/(?P<kind>models|datasets)/{_NAME}/(?P<sha256>[0-9a-f]{{64}})", Handler.upload),
    ("GET HEAD", rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Answer on a free port of this machine, from a thread, until `shutdown`."""
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def environment(hub: Hub, home: os.PathLike[str], *, token: str | None = TOKEN) -> dict[str, str]:
    """Return the environment of a process that knows this Hub alone; its cache is `home`."""
    others = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    place = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return others | place | quiet | ({} if token is None else {"HF_TOKEN": token})

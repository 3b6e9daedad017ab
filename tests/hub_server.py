"""A small Hugging Face Hub over HTTP, for tests and `make hub-demo`; standard library only.

It speaks what huggingface_hub does with HF_HUB_DISABLE_XET=1: repositories of models and data
sets, plain commits, Git LFS, branches, tags, private repositories and one token that may do all.
Every file lies once under its sha256, every repository is one JSON file with all its commits.

    python tests/hub_server.py ROOT     # prints its address

`Hub.faults` says what goes wrong: see `Faults`.
"""

import base64
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "ThisIsTheSecretOfTheTests"
_LARGE_BYTES = 10 * 2**20
_LARGE = (".safetensors", ".parquet", ".png")
_REPO = r"(?P<name>[\w.-]+/[\w.-]+?)"
_API = rf"/api/(?P<kind>models|datasets)/{_REPO}"
_FILES = rf"(?:/(?P<kind>datasets))?/{_REPO}"


@dataclass
class Faults:
    """What goes wrong, while it is not None or False.

    Attributes:
        every: Each request of this number, from the next on, is answered with a proxy's 503.
        commit_unheard: The next commit is made, and its answer is a 500.
        is_full: No large file finds room: 507.
        break_upload: The next large file is read in half, and the connection ends.
        before_commit: Called once in place of the next commit, after which the connection ends.
    """

    every: int | None = None
    commit_unheard: bool = False
    is_full: bool = False
    break_upload: bool = False
    before_commit: Callable[[], None] | None = None


@dataclass
class Hub:
    """What all requests share.

    Attributes:
        root: Folder of repositories and files.
        token: Who has it may write, and see what is private.
        faults: What goes wrong.
        asked: Method and path of every request.
    """

    root: Path
    token: str = TOKEN
    faults: Faults = field(default_factory=Faults)
    asked: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    address: str = ""

    def repo_file(self, kind: str, name: str) -> Path:
        """Return where a repository is written."""
        return self.root / kind / f"{name.replace('/', '--')}.json"

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a repository, None if there is none."""
        path = self.repo_file(kind, name)
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, kind: str, name: str, repo: Mapping[str, Any]) -> None:
        """Write a repository whole."""
        path = self.repo_file(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps(repo))
        path.with_suffix(".tmp").replace(path)

    def keep(self, content: bytes) -> str:
        """Keep a file, and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.root / "files" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    def repo_of(self, kind: str, name: str) -> dict[str, Any]:
        """Return a repository that must be there."""
        repo = self.read(kind, name)
        assert repo is not None, f"no {name}"
        return repo

    def content(self, kind: str, name: str, path: str) -> bytes:
        """Return a file of a repository as it is now."""
        _, files = _at(self.repo_of(kind, name), "main")
        return (self.root / "files" / files[path]["sha256"]).read_bytes()

    def files_of(self, name: str) -> list[str]:
        """Return the paths of a model's files."""
        return sorted(_at(self.repo_of("models", name), "main")[1])

    def commit_of(self, name: str, revision: str = "main") -> str:
        """Return the commit that a revision of a model is."""
        sha, _ = _at(self.repo_of("models", name), revision)
        assert sha is not None, f"{name} has no {revision}"
        return sha

    def commits(self, kind: str, name: str, branch: str = "main") -> list[str]:
        """Return the titles of a branch's commits, oldest first; none if there is no such repo."""
        repo = self.read(kind, name) or {"branches": {}}
        titles, sha = [], repo["branches"].get(branch)
        while sha:
            titles.append(repo["commits"][sha]["title"])
            sha = repo["commits"][sha]["parent"]
        return titles[::-1]

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """Make a model of these files, as anyone may who can push."""
        repo = _empty(private=False)
        kept = {
            path: _large_file(self, self.keep(content))
            if path.endswith(_LARGE)
            else _small_file(self, content)
            for path, content in files.items()
        }
        _committed(repo, "main", "initial commit", kept)
        self.write("models", name, repo)

    def fetched(self, name: str) -> set[str]:
        """Return which files of a model were asked for."""
        starts = (f"GET /{name}/resolve/", f"HEAD /{name}/resolve/")
        return {one.rsplit("/", 1)[-1] for one in self.asked if one.startswith(starts)}


def _empty(*, private: bool) -> dict[str, Any]:
    own = {"private": private, "created": _now(), "branches": {}, "tags": {}, "commits": {}}
    return own | {"large": []}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _small_file(hub: Hub, content: bytes) -> dict[str, Any]:
    sha256, size = hub.keep(content), len(content)
    return {"sha256": sha256, "size": size, "oid": _git_oid(content), "lfs": False}


def _large_file(hub: Hub, sha256: str) -> dict[str, Any]:
    size = (hub.root / "files" / sha256).stat().st_size
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return {"sha256": sha256, "size": size, "oid": _git_oid(pointer.encode()), "lfs": True}


def _entry(path: str, own: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "oid": own["oid"], "size": own["size"]}
    if own["lfs"]:
        entry["lfs"] = {"oid": own["sha256"], "size": own["size"], "pointerSize": 134}
    return entry


def _at(repo: Mapping[str, Any], revision: str) -> tuple[str | None, dict[str, Any]]:
    """Return the commit that a branch, tag or commit is, and its files."""
    sha = repo["branches"].get(revision) or repo["tags"].get(revision)
    if sha is None and revision in repo["commits"]:
        sha = revision
    return sha, repo["commits"][sha]["files"] if sha else {}


def _committed(repo: dict[str, Any], branch: str, title: str, files: Mapping[str, Any]) -> str:
    parent = repo["branches"].get(branch)
    commit = {"parent": parent, "title": title, "date": _now(), "files": files}
    sha = hashlib.sha1(json.dumps([commit, len(repo["commits"])]).encode()).hexdigest()
    repo["commits"][sha] = commit
    repo["branches"][branch] = sha
    return sha


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: two wait for each other 40 ms
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing: what was asked is in `Hub.asked`."""

    def answer(self, status: int, body: object = None, **headers: str) -> None:
        """Send JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        own = {"Content-Type": kind, "Content-Length": str(len(content))}
        for name, value in (own | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str, text: str) -> None:
        """Send an error as the Hub does."""
        self.answer(status, {"error": text}, X_Error_Code=code, X_Error_Message=text)

    @property
    def knows_token(self) -> bool:
        """Whether the request comes with the token."""
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def received(self) -> bytes:
        """Return the body of the request."""
        size = int(self.headers.get("Content-Length") or 0)
        if self.command == "PUT" and self.hub.faults.break_upload:
            self.hub.faults.break_upload = False
            self.rfile.read(size // 2)
            self.connection.close()
            raise ConnectionAbortedError
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(size)
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def handle_request(self) -> None:
        """Find who answers, and let it."""
        url, hub = urlsplit(self.path), self.hub
        hub.asked.append(f"{self.command} {self.path}")
        number = len(hub.asked)
        try:
            body = self.received()
        except ConnectionAbortedError:
            self.close_connection = True
            return
        with hub.lock:
            if hub.faults.every and number % hub.faults.every == 0:
                return self.answer(503, b"<html>a proxy's own page</html>")
            self.query = parse_qs(url.query)
            for methods, pattern, route in _ROUTES:
                found = re.fullmatch(pattern, url.path)
                if found and self.command in methods:
                    if (
                        self.command == "POST"
                        and "validate-yaml" not in url.path
                        and not self.knows_token
                    ):
                        return self.refuse(401, "Unauthorized", "Invalid credentials")
                    parts = {k: unquote(v) for k, v in found.groupdict().items() if v is not None}
                    return route(self, body, **parts)
            return self.refuse(404, "NotFound", f"nothing answers {self.command} {self.path}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request  # noqa: N815

    def repo(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a repository that may be seen, or refuse."""
        repo = self.hub.read(kind, name)
        if repo is None or (repo["private"] and not self.knows_token):
            status = 404 if self.knows_token else 401
            self.refuse(status, "RepoNotFound", "Repository not found")
            return None
        return repo

    def revision(self, kind: str, name: str, revision: str) -> tuple[Any, str, Any] | None:
        """Return a repository, a commit of it and its files, or refuse."""
        repo = self.repo(kind, name)
        if repo is None:
            return None
        sha, files = _at(repo, revision)
        if sha is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo, sha, files

    def create(self, body: bytes) -> None:
        """POST /api/repos/create."""
        asked = json.loads(body)
        kind, name = f"{asked.get('type') or 'model'}s", f"{asked['organization']}/{asked['name']}"
        url = f"{self.hub.address}/{'' if kind == 'models' else 'datasets/'}{name}"
        if self.hub.read(kind, name) is not None:
            return self.answer(409, {"error": "You already created this repo", "url": url})
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        repo = _empty(private=private)
        attributes = "".join(f"*{one} filter=lfs diff=lfs merge=lfs -text\n" for one in _LARGE)
        files = {".gitattributes": _small_file(self.hub, attributes.encode())}
        _committed(repo, "main", "initial commit", files)
        self.hub.write(kind, name, repo)
        return self.answer(200, {"url": url, "name": name, "id": name})

    def validate(self, body: bytes) -> None:
        """POST /api/validate-yaml: as the Hub does, of what it must know the form."""
        errors = _card_errors(json.loads(body)["content"])
        status = 400 if errors else 200
        self.answer(status, {"errors": [{"message": one} for one in errors], "warnings": []})

    def preupload(self, body: bytes, kind: str, name: str, revision: str) -> None:
        """POST .../preupload/REVISION."""
        if (found := self.revision(kind, name, revision)) is None:
            return
        _, sha, there = found
        told = []
        for own in json.loads(body)["files"]:
            large = own["size"] > _LARGE_BYTES or own["path"].endswith(_LARGE)
            have = there.get(own["path"])
            oid = have and (have["sha256"] if have["lfs"] else have["oid"])
            mode = "lfs" if large else "regular"
            told.append(
                {"path": own["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self.answer(200, {"files": told, "commitOid": sha})

    def batch(self, body: bytes, kind: str = "models", name: str = "") -> None:
        """POST .../info/lfs/objects/batch."""
        if (repo := self.repo(kind, name)) is None:
            return
        objects = []
        for own in json.loads(body)["objects"]:
            told = {"oid": own["oid"], "size": own["size"]}
            if own["oid"] not in repo["large"]:
                place = f"{self.hub.address}/lfs/{kind}/{name}/{own['oid']}"
                told["actions"] = {"upload": {"href": place}}
            objects.append(told)
        self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, kind: str, name: str, sha256: str) -> None:
        """PUT /lfs/KIND/NAME/SHA256, an address that only who has the token got from `batch`."""
        if self.hub.faults.is_full:
            return self.refuse(507, "InsufficientStorage", "no room is left on the Hub")
        if hashlib.sha256(body).hexdigest() != sha256:
            return self.refuse(400, "BadRequest", "this is not the file of that hash")
        repo = self.hub.repo_of(kind, name)
        repo["large"].append(self.hub.keep(body))
        self.hub.write(kind, name, repo)
        return self.answer(200)

    def commit(self, body: bytes, kind: str, name: str, revision: str) -> None:
        """POST .../commit/BRANCH."""
        if (found := self.revision(kind, name, revision)) is None:
            return
        if (instead := self.hub.faults.before_commit) is not None:
            self.hub.faults.before_commit = None
            self.close_connection = True
            return instead()
        repo, sha, there = found
        head, *changes = (json.loads(line) for line in body.splitlines() if line.strip())
        parent = head["value"].get("parentCommit")
        if parent not in (None, sha):
            return self.refuse(412, "PreconditionFailed", "A commit has happened since.")
        files = dict(there)
        for change in changes:
            if (fault := self.changed(repo, files, change["key"], change["value"])) is not None:
                return self.refuse(400, "BadRequest", fault)
        made = _committed(repo, revision, head["value"]["summary"], files)
        self.hub.write(kind, name, repo)
        if self.hub.faults.commit_unheard:
            self.hub.faults.commit_unheard = False
            return self.refuse(500, "InternalError", "the answer was lost")
        url = f"{self.hub.address}/{'' if kind == 'models' else 'datasets/'}{name}/commit/{made}"
        return self.answer(200, {"success": True, "commitOid": made, "commitUrl": url})

    def changed(
        self, repo: Mapping[str, Any], files: dict[str, Any], key: str, own: Mapping[str, Any]
    ) -> str | None:
        """Apply one line of a commit to its files, and return what is wrong with it."""
        if key == "file":
            files[own["path"]] = _small_file(self.hub, base64.b64decode(own["content"]))
        elif key == "lfsFile":
            if own["oid"] not in repo["large"]:
                return f"the file of {own['path']} was never uploaded"
            files[own["path"]] = _large_file(self.hub, own["oid"])
        elif key == "deletedFile":
            files.pop(own["path"], None)
        else:
            return f"this Hub knows no {key}"
        return None

    def info(self, _: bytes, kind: str, name: str, revision: str = "main") -> None:
        """GET /api/models/NAME[/revision/REVISION]."""
        if (found := self.revision(kind, name, revision)) is None:
            return
        repo, sha, files = found
        siblings = [{"rfilename": path} for path in sorted(files)]
        told = {"_id": "0", "id": name, "modelId": name, "sha": sha, "private": repo["private"]}
        told |= {"lastModified": repo["commits"][sha]["date"], "createdAt": repo["created"]}
        self.answer(200, told | {"tags": [], "downloads": 0, "likes": 0, "siblings": siblings})

    def tree(self, _: bytes, kind: str, name: str, revision: str, folder: str = "") -> None:
        """GET .../tree/REVISION[/FOLDER]."""
        if (found := self.revision(kind, name, revision)) is None:
            return
        start = f"{folder.strip('/')}/" if folder.strip("/") else ""
        inside = {path: own for path, own in found[2].items() if path.startswith(start)}
        if start and not inside:
            return self.refuse(404, "EntryNotFound", f"{folder} is not there")
        deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        parents = {str(up) for path in inside for up in Path(path).parents}
        folders = {up for up in parents if up.startswith(start) and up != "."}
        told = [{"type": "directory", "path": up, "oid": "0" * 40, "size": 0} for up in folders]
        told += [_entry(path, own) for path, own in sorted(inside.items())]
        shown = [one for one in told if deep or "/" not in one["path"][len(start) :]]
        return self.answer(200, shown)

    def refs(self, _: bytes, kind: str, name: str) -> None:
        """GET .../refs."""
        if (repo := self.repo(kind, name)) is None:
            return
        told: dict[str, Any] = {"converts": []}
        for key, place in (("branches", "heads"), ("tags", "tags")):
            told[key] = [
                {"name": own, "ref": f"refs/{place}/{own}", "targetCommit": sha}
                for own, sha in repo[key].items()
            ]
        self.answer(200, told)

    def name_ref(self, body: bytes, kind: str, name: str, what: str, revision: str) -> None:
        """POST .../tag/REVISION and .../branch/NAME."""
        asked = json.loads(body or b"{}")
        start = revision if what == "tag" else asked.get("startingPoint") or "main"
        if (found := self.revision(kind, name, start)) is None:
            return
        repo, sha, _ = found
        own, table = (asked["tag"], "tags") if what == "tag" else (revision, "branches")
        if own in repo[table]:
            return self.refuse(409, "Conflict", f"{own} is there already")
        repo[table][own] = sha
        self.hub.write(kind, name, repo)
        return self.answer(200, {})

    def resolve(self, _: bytes, name: str, revision: str, path: str, kind: str = "models") -> None:
        """GET or HEAD a file, or a range of it."""
        if (found := self.revision(kind, name, revision)) is None:
            return
        if (own := found[2].get(path)) is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        etag = f'"{own["sha256"] if own["lfs"] else own["oid"]}"'
        told = {"X_Repo_Commit": found[1], "ETag": etag, "Accept_Ranges": "bytes"}
        if own["lfs"]:
            told |= {"X_Linked_Size": str(own["size"]), "X_Linked_ETag": etag}
        content = (self.hub.root / "files" / own["sha256"]).read_bytes()
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not part or self.command == "HEAD":
            return self.answer(200, content, **told)
        first, last = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
        told["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
        return self.answer(206, content[first : last + 1], **told)


def _card_errors(card: str) -> list[str]:
    """Return what the Hub would say of a card's metadata, of the fields that are known here."""
    import yaml  # the Hub reads YAML; whoever has huggingface_hub has this

    metadata = yaml.safe_load(card.split("---")[1]) if card.startswith("---") else {}
    if not isinstance(metadata, dict):
        return ["the metadata should be a mapping"]
    errors = [] if metadata.get("license") else ['"license" must be a string']
    if metadata.get("license") == "other" and not metadata.get("license_name"):
        errors.append('"license_name" is required where "license" is other')
    for model in metadata.get("model-index", []):
        for result in model.get("results") or [{}]:
            missing = {"task", "dataset", "metrics"} - set(result)
            errors += [f'"model-index[].results[].{one}" is required' for one in sorted(missing)]
            errors += [
                f'"{key}.type" is required'
                for key in ("task", "dataset")
                if "type" not in result.get(key, {})
            ]
    return errors


Route = tuple[str, str, Callable[..., None]]
_ROUTES: list[Route] = [
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", Handler.tree),
    ("GET", rf"{_API}/refs", Handler.refs),
    ("POST", rf"{_API}/(?P<what>tag|branch)/(?P<revision>[^/]+)", Handler.name_ref),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET HEAD", _API, Handler.info),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", rf"/lfs/(?P<kind>models|datasets)/{_REPO}/(?P<sha256>[0-9a-f]{{64}})", Handler.put),
    ("GET HEAD", rf"{_FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Answer on a free port of this machine, from a thread, until `shutdown`."""
    handler = type("OwnHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def environment(hub: Hub, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
    """Return the environment of a process that knows this Hub alone; its cache is `home`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return own if token is None else own | {"HF_TOKEN": token}


if __name__ == "__main__":
    own_hub = Hub(Path(sys.argv[1]))
    serve(own_hub)
    print(own_hub.address, flush=True)  # noqa: T201
    threading.Event().wait()

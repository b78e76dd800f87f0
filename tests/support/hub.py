"""A stand-in for the Hub on loopback, made for tests: the endpoints that huggingface_hub uses for datasets; and faults.

It is no part of Hugging Face and keeps nothing: repositories, commits and LFS objects are dictionaries of this process.
It speaks create, settings, info, tree, paths-info, preupload, LFS batch with single and multi-part uploads, commit,
validate-yaml and resolve with ranges; not Xet, so clients need HF_HUB_DISABLE_XET. It stops when its `with` ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from support.hub_files import LFS, Repo, entry, tree
from support.loopback import Loopback

__all__ = ["TOKEN", "Fault", "Hub"]

TOKEN = "hf_loopbackstandintoken0000000000"


@dataclass
class Fault:
    """What goes wrong at the next `times` requests whose "METHOD /path" matches `on`.

    `cut` closes the connection without an answer, `lost` does so after the work was done, `half` in the middle of the
    answer, `slow` sends it in many small pieces, `reject` answers `status`, at `meanwhile` somebody else commits to
    every repository first, and `call` calls `does` and then cuts.
    """

    on: str
    kind: Literal["reject", "cut", "lost", "meanwhile", "call", "half", "slow"] = "reject"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    does: Callable[[], object] = bool


class Hub:
    """The server; `requests` are all that came, as "METHOD /path", and `faults` what is to go wrong.

    What HfFileSystem learned of the same address, and keeps while the process lives, is forgotten: it was another's.
    """

    def __init__(self, *, part_bytes: int = 1 << 30, port: int = 0) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.spoiled: set[str] = set()
        """Paths whose content the server damages when it is committed."""
        self.part_bytes = part_bytes
        self.lock = threading.RLock()
        from huggingface_hub import HfFileSystem  # which reads HF_ENDPOINT when it is imported: not with this module

        HfFileSystem.clear_instance_cache()
        self._server = Loopback(_Handler, port=port, hub=self)
        self.url = self._server.url

    def __enter__(self) -> Hub:
        self._server.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.end()

    def fault(self, on: str, **about: Any) -> None:
        self.faults.append(Fault(on, **about))

    def count(self, pattern: str) -> int:
        """Return how many requests matched."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def next_fault(self, request: str) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.on, request):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        fault = self.hub.next_fault(f"{self.command} {path}")
        if fault is not None and fault.kind in ("cut", "call"):
            fault.does()
            self.close_connection = True
            return
        body = self._body()
        if fault is not None and fault.kind == "reject":
            self._answer(fault.status, {"error": f"made to fail with {fault.status}"}, fault.headers)
            return
        with self.hub.lock:
            for repo in self.hub.repos.values() if fault is not None and fault.kind == "meanwhile" else ():
                repo.commit("by somebody else", {**repo.files, "NOTES.txt": b"a note"})
            status, answer, headers = self._route(path, parse_qs(address.query), body)
        if fault is not None and fault.kind == "lost":
            self.close_connection = True
            return
        if fault is not None and fault.kind in ("half", "slow") and isinstance(answer, bytes):
            self._falter(status, answer, headers, whole=fault.kind == "slow")
            return
        self._answer(status, answer, headers)

    def _falter(self, status: int, data: bytes, headers: Mapping[str, str], *, whole: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = data if whole else data[: len(data) // 2]
        for start in range(0, len(sent), 64):
            self.wfile.write(sent[start : start + 64])
            self.wfile.flush()
        self.close_connection = True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, status: int, answer: object, headers: Mapping[str, str]) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, object, Mapping[str, str]]:
        if path.startswith("/lfs/"):  # signed addresses elsewhere, at the real Hub: no token is sent there
            return self._object(path.removeprefix("/lfs/"), query, body)
        may = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body)) if may else _error(401, "Invalid username or password.")
        found = re.fullmatch(r"(?:/api)?/datasets/([\w.-]+/[\w.-]+?)(\.git)?(?:/([\w-]+)(?:/(.*))?)?", path)
        repo = self.hub.repos.get(found[1]) if found else None
        if found is None or repo is None or (repo.private and not may):
            return _error(404, "Repository Not Found", "RepoNotFound")
        does, rest = found[3] or "info", found[4] or ""
        if does in ("commit", "settings", "preupload") and not may:
            return _error(403, "You have read access but not the required permissions.")
        if does == "settings":
            given = json.loads(body)
            repo.private = given.get("private", given.get("visibility") == "private")
            return 200, {}, {}
        if does == "preupload":
            return 200, {"files": [self._mode(repo, file) for file in json.loads(body)["files"]]}, {}
        if does == "commit":
            return self._commit(found[1], repo, body)
        if found[2]:
            return 200, {"transfer": "basic", "objects": [self._batch(one) for one in json.loads(body)["objects"]]}, {}
        deep = query.get("recursive", ["false"])[0].lower() == "true"
        return self._read(found[1], repo, does, rest, body, deep)

    def _create(self, given: dict[str, Any]) -> tuple[int, object, Mapping[str, str]]:
        name = f"{given.get('organization') or 'me'}/{given['name']}"
        if name in self.hub.repos:
            return 409, {"error": "exists", "url": f"{self.hub.url}/datasets/{name}"}, {}
        private = given.get("private", given.get("visibility") == "private")
        self.hub.repos[name] = Repo(private)
        self.hub.repos[name].commit("initial commit", {".gitattributes": b"*.parquet filter=lfs\n"})
        return 200, {"url": f"{self.hub.url}/datasets/{name}"}, {}

    def _read(
        self, name: str, repo: Repo, does: str, rest: str, body: bytes, deep: bool
    ) -> tuple[int, object, Mapping[str, str]]:
        revision, _, path = rest.partition("/")
        files = repo.at(revision or "main")
        if files is None:
            return _error(404, "Invalid rev id", "RevisionNotFound")
        sha = repo.sha(revision)
        if does in ("info", "revision"):
            siblings = [{"rfilename": one} for one in files]
            return 200, {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []}, {}
        if does == "tree":
            depth = path.count("/") + 1 if path else 0
            return 200, [one for one in tree(files, path) if deep or one["path"].count("/") == depth], {}
        if does == "paths-info":
            form = parse_qs(body.decode())
            asked = json.loads(body)["paths"] if body.startswith(b"{") else form.get("paths", [])
            return 200, [one for one in tree(files, "") if one["path"] in asked], {}
        if does == "resolve":
            return self._resolve(files, path, sha)
        return _error(404, f"no endpoint {does}")

    def _resolve(self, files: dict[str, bytes], path: str, sha: str) -> tuple[int, object, Mapping[str, str]]:
        if path not in files:
            return _error(404, "Entry not found", "EntryNotFound")
        data = files[path]
        headers = {"ETag": f'"{entry(path, data)["oid"]}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if span is None:
            return 200, data, {**headers, "Content-Length": str(len(data))}
        start, end = int(span[1]), min(int(span[2] or len(data)), len(data) - 1)
        return 206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"}

    def _mode(self, repo: Repo, file: dict[str, Any]) -> dict[str, Any]:
        there = repo.files.get(file["path"])
        oid = None if there is None else entry(file["path"], there)["oid"]
        mode = "lfs" if file["path"].endswith(LFS) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _batch(self, one: dict[str, Any]) -> dict[str, Any]:
        oid, size = one["oid"], one["size"]
        if oid in self.hub.objects:
            return {"oid": oid, "size": size}
        header: dict[str, str] = {}
        if size > self.hub.part_bytes:
            count = -(-size // self.hub.part_bytes)
            parts = {str(part): f"{self.hub.url}/lfs/{oid}?part={part}" for part in range(1, count + 1)}
            header = {"chunk_size": str(self.hub.part_bytes), **parts}
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": {"href": f"{self.hub.url}/lfs/{oid}", "header": header}},
        }

    def _object(self, oid: str, query: dict[str, list[str]], body: bytes) -> tuple[int, object, Mapping[str, str]]:
        if "part" in query:
            self.hub.parts.setdefault(oid, {})[int(query["part"][0])] = body
            return 200, {}, {"ETag": hashlib.md5(body).hexdigest()}
        if self.command == "POST":
            parts = self.hub.parts.pop(oid)
            body = b"".join(parts[number] for number in sorted(parts))
        if hashlib.sha256(body).hexdigest() != oid:
            return _error(400, "the content is not what its name says")
        self.hub.objects[oid] = body
        return 200, {}, {}

    def _commit(self, name: str, repo: Repo, body: bytes) -> tuple[int, object, Mapping[str, str]]:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.head):
            return _error(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return _error(400, f"no such object: {value['path']}")
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
            if value["path"] in self.hub.spoiled:
                files[value["path"]] = b"spoiled" + files[value["path"]][7:]
        sha = repo.commit(header["summary"], files)
        return 200, {"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{sha}", "commitOid": sha}, {}


def _error(status: int, message: str, code: str = "") -> tuple[int, object, Mapping[str, str]]:
    return (
        status,
        {"error": message},
        {"X-Error-Message": quote(message, safe=" .,'"), **({"X-Error-Code": code} if code else {})},
    )

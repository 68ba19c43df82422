"""Weights go to the hub and come back by name, through the real client and a small server on this machine."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from benchmark import hub
from benchmark.checkpoints.load import open_checkpoint, open_released
from benchmark.cli import main
from benchmark.errors import DataError
from builders import released_files as released

pytest.importorskip("huggingface_hub")

from builders.paths import ROOT

REPO, COMMIT = "physics/weights", "1f3870be274f6c49b3e31a0c6728957f0d7a2c51"


class Server(ThreadingHTTPServer):
    """One model repository, which exists once it was created. Large files arrive by LFS, small ones in the commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.created = False
        self.refuse = False
        self.large: dict[str, bytes] = {}  # sha256 -> content
        self.files: dict[str, bytes] = {}
        self.lfs: set[str] = set()
        self.tokens: set[str | None] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, server = urlsplit(self.path).path, self.server
        if not server.created:
            return self.reply({}, 404, {"X-Error-Code": "RepoNotFound"})
        if path == f"/api/models/{REPO}/revision/main" or path == f"/api/models/{REPO}/revision/{COMMIT}":
            return self.reply({"id": REPO, "sha": COMMIT, "siblings": []})
        if path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
            return self.reply([self.entry(name, content) for name, content in server.files.items()])
        name = path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        if name in server.files:
            return self.send(server.files[name])
        return self.reply({}, 404, {"X-Error-Code": "EntryNotFound"})

    def do_POST(self):
        server, path = self.server, urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.tokens.add(self.headers.get("Authorization"))
        if server.refuse:
            return self.reply({"error": "not yours"}, 403)
        if path == "/api/repos/create":
            server.created = True
            return self.reply({"url": f"{server.address}/{REPO}"})
        if path == f"/api/models/{REPO}/preupload/main":
            return self.reply({"files": [self.mode(f["path"]) for f in json.loads(body)["files"]]})
        if path == f"/{REPO}.git/info/lfs/objects/batch":
            wanted = json.loads(body)["objects"]
            place = {o["oid"]: {"upload": {"href": f"{server.address}/put/{o['oid']}"}} for o in wanted}
            return self.reply({"transfer": "basic", "objects": [{**o, "actions": place[o["oid"]]} for o in wanted]})
        if path == f"/api/models/{REPO}/commit/main":
            for line in body.decode().splitlines():
                self.commit(json.loads(line))
            url = f"{server.address}/{REPO}/commit/{COMMIT}"
            return self.reply({"success": True, "commitOid": COMMIT, "commitUrl": url})
        return self.reply({}, 404)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self.reply({})

    def mode(self, path):
        large = path.endswith(".safetensors")
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def commit(self, line):
        value = line["value"]
        if line["key"] == "lfsFile":
            self.server.files[value["path"]] = self.server.large[value["oid"]]
            self.server.lfs.add(value["path"])
        elif line["key"] == "file":
            self.server.files[value["path"]] = base64.b64decode(value["content"])

    def entry(self, name, content):
        entry = {"type": "file", "path": name, "size": len(content)}
        entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if name in self.server.lfs:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return entry

    def reply(self, value, status=200, headers=None):
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, content, status=200, headers=None):
        wanted = self.headers.get("Range") if status == 200 and self.command == "GET" else None
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            total, status = len(content), 206
            content = content[int(first) : int(last or total) + 1]
            headers = {**(headers or {}), "Content-Range": f"bytes {first}-{int(first) + len(content) - 1}/{total}"}
        self.send_response(status)
        for name, value in {"ETag": '"x"', "X-Repo-Commit": COMMIT, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    path = released.write(folder / "released.ckpt", released.content(stage="pretrain"))
    open_released(path, "polarmae").save(folder / "ours.safetensors")
    return folder / "ours.safetensors"


def typed(server, folder, *arguments):
    """A command in a process of its own: the client reads its address when it is imported."""
    environment = {k: v for k, v in os.environ.items() if k.lower() not in ("https_proxy", "http_proxy", "all_proxy")}
    environment |= {
        "HF_ENDPOINT": server.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"), "HF_TOKEN": "hf_mine",
        "PARTICLEBENCH_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmark", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_weights_are_uploaded_and_come_back_by_name(server, weights, tmp_path):
    sent = typed(server, tmp_path, "checkpoint", "upload", weights, REPO)
    assert sent.returncode == 0, sent.stderr
    assert server.files == {"ours.safetensors": weights.read_bytes()} and server.lfs == {"ours.safetensors"}
    assert server.tokens == {"Bearer hf_mine"}
    assert sent.stdout.splitlines()[-1] == f"Use it with: --checkpoint hub:{REPO}:ours.safetensors"
    target = tmp_path / "a.safetensors"
    got = typed(server, tmp_path, "checkpoint", "download", f"{REPO}@{COMMIT}:ours.safetensors", "--out", target)
    assert got.returncode == 0, got.stderr
    assert target.read_bytes() == weights.read_bytes()
    assert open_checkpoint(tmp_path / "a.safetensors").manifest == open_checkpoint(weights).manifest


def test_a_checkpoint_is_used_by_its_name_on_the_hub(server, weights, tmp_path):
    server.created, server.files = True, {"ours.safetensors": weights.read_bytes()}
    done = typed(server, tmp_path, "evaluate", "--checkpoint", f"hub:{REPO}", "--data", tmp_path)
    assert "is of pre-training and has no trained head" in done.stderr.splitlines()[-1]
    (kept,) = (tmp_path / "cache").rglob("*.safetensors")
    assert kept.read_bytes() == weights.read_bytes()


def test_what_the_hub_refuses_or_lacks_is_one_sentence(server, weights, tmp_path):
    out = tmp_path / "w.safetensors"
    gone = typed(server, tmp_path, "checkpoint", "download", REPO, "--out", out)
    server.created, server.refuse = True, True
    refused = typed(server, tmp_path, "checkpoint", "upload", weights, REPO)
    server.files = {"a.safetensors": b"no weights"}
    damaged = typed(server, tmp_path, "checkpoint", "download", REPO, "--out", out)
    for done, told in (
        (gone, "no such repository"), (refused, "refused the access"),
        (damaged, "could not be read"),
    ):  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: ") and told in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not out.exists()


def test_nothing_damaged_is_uploaded(weights, tmp_path, monkeypatch):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    (tmp_path / "w.safetensors").write_bytes(content)
    monkeypatch.setattr(hub, "upload", lambda *given: pytest.fail("it was sent"))
    with pytest.raises(SystemExit) as end:
        main(["checkpoint", "upload", str(tmp_path / "w.safetensors"), REPO])
    assert end.value.code == 2


def test_the_file_is_named_where_a_repository_has_several():
    listing = [hub.RemoteFile(n, 1, None, None) for n in ("README.md", "a.ckpt", "b.safetensors")]
    with pytest.raises(DataError, match=r"2 files of weights.*a.ckpt, b.safetensors"):
        hub._select_file(hub.parse_name(REPO), listing)
    with pytest.raises(DataError, match=r"has no file c.ckpt"):
        hub._select_file(hub.parse_name(f"{REPO}:c.ckpt"), listing)
    assert hub._select_file(hub.parse_name(f"{REPO}:a.ckpt"), listing) == listing[1]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b", ("a/b", "main", None)),
        ("a/b@v1", ("a/b", "v1", None)),
        ("a/b:w.safetensors", ("a/b", "main", "w.safetensors")),
        ("a-1/b.c@refs/pr/1:x/w.ckpt", ("a-1/b.c", "refs/pr/1", "x/w.ckpt")),
    ],
)
def test_names_on_the_hub(text, parts):
    name = hub.parse_name(text)
    assert (name.repo, name.revision, name.file) == parts


@pytest.mark.parametrize(
    "text", ["", "b", "a/b/c", "a/b:", "a/b@", "../b", "a/b:../w", "a/b:/etc/x", "a b/c", "a/b@x y"]
)
def test_texts_that_are_no_name(text):
    with pytest.raises(DataError, match="is not the name of a repository"):
        hub.parse_name(text)

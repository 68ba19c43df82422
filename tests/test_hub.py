"""The real Hugging Face client against a small server on this machine: listing, fetching, going on, and failing."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchmark import hub
from benchmark.errors import DataError
from builders.paths import ROOT
from builders.pilarnet_files import make_events, write_folder

pytest.importorskip("huggingface_hub")

COMMIT = "d7a0d1e3e5d6640808db71dcda34bc31991d9b3b"
REPO = "DeepLearnPhysics/PILArNet-M"


class Server(ThreadingHTTPServer):
    """Answers as the hub does for one repository; hangs up on whoever asks for bytes behind `break_after`."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.*"))}
        self.break_after: int | None = None
        self.ranges: list[str | None] = []

    def tree(self):
        for name, content in self.files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if name.endswith(".h5"):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            else:
                entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            yield entry
        yield {"type": "directory", "path": "val", "oid": "0" * 40, "size": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer(head=False)

    def answer(self, head):
        path = urlsplit(self.path).path
        api, files = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{COMMIT}/"
        if path in (f"{api}/revision/v2", f"{api}/revision/{COMMIT}"):
            self.reply(json.dumps({"id": REPO, "sha": COMMIT, "siblings": []}).encode(), "application/json", head)
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            folder = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            entries = [e for e in self.server.tree() if e["path"].startswith(folder)]
            self.reply(json.dumps(entries).encode(), "application/json", head)
        elif path.startswith(files) and path[len(files) :] in self.server.files:
            self.file(self.server.files[path[len(files) :]], head)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, content, kind, head):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not head:
            self.wfile.write(content)

    def file(self, content, head):
        wanted = self.headers.get("Range")
        start, end = 0, len(content)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or end) + 1, end)
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if head:
            return
        self.server.ranges.append(wanted)
        if self.server.break_after is not None and end > self.server.break_after:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(content[start:end])


@pytest.fixture
def server(tmp_path):
    rng = np.random.default_rng(0)
    root = write_folder(tmp_path / "remote", {"train": make_events(rng, 7), "val": make_events(rng, 2)})
    with Server(root) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


def prepare(server, folder, revision="auto"):
    """`data prepare` in a process of its own: the client reads its address when it is imported."""
    code = (
        "import sys; from pathlib import Path; from benchmark.datasets.pilarnet_m import SPEC, Config; "
        "from benchmark.errors import BenchmarkError; import benchmark.hub as h; h._PIECE_BYTES = 5000\n"
        "import functools, huggingface_hub.hf_file_system as f\n"
        "f.http_backoff = functools.partial(f.http_backoff, max_retries=1, base_wait_time=0.01)\n"  # no long waits
        "try: print(len(SPEC.prepare(Config(revision=sys.argv[2], split='val'), Path(sys.argv[1])).events('val')))\n"
        "except BenchmarkError as e: sys.exit(str(e))"
    )
    environment = {k: v for k, v in os.environ.items() if k.lower() not in ("https_proxy", "http_proxy", "all_proxy")}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder.parent / "hf"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", code, str(folder), revision]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_prepare_through_the_real_client(server, tmp_path):
    done = prepare(server, tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"
    for name in ("val/generic_v2_2_v2.h5", "val/generic_v2_2_v2_points.npy"):
        assert (tmp_path / "here" / name).read_bytes() == server.files[name]
    assert not (tmp_path / "here" / "train").exists()
    n_fetched = len(server.ranges)
    assert prepare(server, tmp_path / "here").returncode == 0
    assert len(server.ranges) == n_fetched  # nothing is fetched twice


def test_unknown_revision_is_one_sentence(server, tmp_path):
    done = prepare(server, tmp_path / "here", revision="v1")
    assert done.returncode == 1
    assert "no such repository or revision" in done.stderr.strip().splitlines()[-1]


def test_broken_download_goes_on_where_it_stopped(server, tmp_path):
    content = server.files["val/generic_v2_2_v2.h5"]
    assert len(content) > 15000
    server.break_after = 12000
    done = prepare(server, tmp_path / "here")
    assert done.returncode == 1
    assert "what has been fetched is kept" in done.stderr.strip().splitlines()[-1]
    (partial,) = (tmp_path / "here" / "val").iterdir()
    assert partial.read_bytes() == content[:10000]
    server.break_after, server.ranges = None, []
    done = prepare(server, tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here/val/generic_v2_2_v2.h5").read_bytes() == content
    assert server.ranges[0] == "bytes=10000-14999"  # not from the beginning
    assert not partial.exists()


def test_full_disk_is_not_called_a_network_error(tmp_path):
    from benchmark import hub
    from benchmark.errors import DataError

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Path("/dev/full").open("ab") as stream, pytest.raises(DataError, match="could not be written: No space left"):
        hub._append(stream, b"1" * 100000, tmp_path / "f")


@pytest.mark.parametrize(
    "path", ["../x.h5", "val/../../x.h5", "/etc/x.h5", "val//x.h5", "val\\..\\x.h5", "a\x1b[2J.h5"]
)
def test_a_listing_that_leaves_its_folder_is_refused(path):
    with pytest.raises(DataError, match=r"whose name leaves its folder\..*expected"):
        hub._check_listed(REPO, hub.RemoteFile(path, 1, None, None))


@pytest.mark.parametrize("size", [None, -1, True, "1"])
def test_a_listing_without_a_size_is_refused(size):
    with pytest.raises(DataError, match=r"without its size\..*expected"):
        hub._check_listed(REPO, hub.RemoteFile("val/x.h5", size, None, None))


def test_weights_of_terabytes_are_not_fetched(monkeypatch, own_cache):
    listing = [hub.RemoteFile("weights.safetensors", 10**13, None, None)]
    monkeypatch.setattr(hub, "list_files", lambda *arguments: (COMMIT, listing))
    with pytest.raises(DataError, match=r"has 10000 GB\. At most 20 GB"):
        hub.download(hub.parse_name(REPO))
    assert not own_cache.exists()

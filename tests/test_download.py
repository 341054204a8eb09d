"""Weights files: fetched from a server of the test's own, found, verified, refused."""

import errno
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import skdeep
from skdeep.features import FetchError, WeightsRecord, download, fetch, locks

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives CONTENT in the way that ``server.manner`` says."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        steps = server.manner.get(self.path, [{}])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if "status" in step:
            self.send_response(step["status"])
            for name, value in step.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, start = step.get("content", CONTENT), 0
        wanted = self.headers.get("Range")
        etag = step.get("etag", '"one"')
        fresh = self.headers.get("If-Range") in (None, etag)
        if wanted and step.get("ranges", True) and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            start = step.get("told", start)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if etag:
            self.send_header("ETag", etag)
        if step.get("length", True):
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start : start + step["cut"]] if "cut" in step else content[start:]
        for at in range(0, len(body), step.get("block", 1 << 20)):
            try:
                self.wfile.write(body[at : at + step.get("block", 1 << 20)])
            except OSError:
                return
            time.sleep(step.get("pause", 0))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.manner, found.requests = {}, []
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{found.server_address[1]}"
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home; no folders of other programs."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "CAFFE_ROOT", "SKDEEP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("SKDEEP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record_of(url, **facts):
    return WeightsRecord("resnet18", "mine", url, **{"sha256": SHA256, **facts})


@pytest.fixture
def record(server, home):
    return record_of(f"{server.url}/net.pth", size=len(CONTENT))


def left(home):
    """What is in the folder besides the file, what is known of it, and the lock."""
    names = {p.name for p in (home / "weights").iterdir()}
    return names - {"net.pth", "net.pth.json", "net.pth.lock"}


# -- the server -----------------------------------------------------------------------------------


def test_a_file_is_fetched_once(record, home, server):
    path = fetch(record)
    assert path == home / "weights" / "net.pth" and path.read_bytes() == CONTENT
    assert fetch(record) == path and len(server.requests) == 1
    assert not left(home)
    known = json.loads((home / "weights" / "net.pth.json").read_text())
    assert known["sha256"] == SHA256


def test_home_is_a_parameter(record, tmp_path):
    assert fetch(record, home=tmp_path / "other").parent == tmp_path / "other" / "weights"


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', ""])
def test_a_cut_connection_goes_on_where_it_was(record, server, etag):
    server.manner["/net.pth"] = [{"cut": 100_000, "etag": etag}] * 3
    assert fetch(record).read_bytes() == CONTENT
    ranges = [r for _, r, _ in server.requests]
    assert ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert server.requests[1][2] == (etag if etag == '"one"' else None)


def test_a_server_without_ranges_begins_again(record, server):
    server.manner["/net.pth"] = [{"cut": 100_000, "ranges": False}, {"ranges": False}]
    assert fetch(record).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_another_range_than_asked_for_is_not_taken(record, server):
    server.manner["/net.pth"] = [{"cut": 1000}, {"told": 7}, {}]
    assert fetch(record).read_bytes() == CONTENT
    assert [r for _, r, _ in server.requests] == [None, "bytes=1000-", "bytes=1000-"]


def test_a_file_that_changes_between_connections(record, server):
    server.manner["/net.pth"] = [{"cut": 1000, "content": b"x" * 5000, "etag": '"old"'}, {}]
    assert fetch(record).read_bytes() == CONTENT
    assert server.requests[1][1:] == ("bytes=1000-", '"old"')


def test_parts_of_two_files_without_etag_are_told_apart_by_the_hash(record, server):
    server.manner["/net.pth"] = [
        {"cut": 1000, "content": b"x" * len(CONTENT), "etag": ""},
        {"etag": ""},
    ]
    with pytest.raises(FetchError, match="gives a file that is not what"):
        fetch(record)
    assert fetch(record).read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(record, server, home):
    folder = home / "weights"
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes(b"y" * 1000)
    (folder / "net.pth.part.json").write_text(json.dumps({"url": record.url, "validator": ""}))
    assert fetch(record).read_bytes() == CONTENT
    assert [r for _, r, _ in server.requests] == ["bytes=1000-", None]
    assert not left(home)


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 10])
def test_a_part_that_has_everything(record, server, home, length):
    folder = home / "weights"
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes((CONTENT + b"z" * 10)[:length])
    (folder / "net.pth.part.json").write_text(json.dumps({"url": record.url, "validator": ""}))
    assert fetch(record).read_bytes() == CONTENT
    assert len(server.requests) == 1 + (length > len(CONTENT))


def test_a_part_of_another_url_is_not_gone_on_with(record, server, home):
    folder = home / "weights"
    folder.mkdir(parents=True)
    (folder / "net.pth.part").write_bytes(CONTENT[:1000])
    assert fetch(record).read_bytes() == CONTENT
    assert server.requests[0][1] is None


def test_a_truncated_file_is_an_error_and_its_part_is_kept(record, server, home):
    server.manner["/net.pth"] = [{"cut": 1000}, {"cut": 0}]
    with pytest.raises(FetchError, match="gave 1000 of 300000 bytes; 1000 bytes are kept"):
        fetch(record)
    assert not (home / "weights" / "net.pth").exists()
    assert left(home) == {"net.pth.part", "net.pth.part.json"}


def test_a_file_without_length_that_is_cut(record, server, home):
    server.manner["/net.pth"] = [{"cut": 1000, "length": False}]
    with pytest.raises(FetchError, match="not what weights 'mine' of 'resnet18' are"):
        fetch(record)
    assert not left(home)


def test_a_corrupted_file_is_an_error_and_removed(record, server, home):
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.manner["/net.pth"] = [{"content": wrong}]
    with pytest.raises(FetchError) as caught:
        fetch(record)
    for part in (record.url, SHA256, hashlib.sha256(wrong).hexdigest(), "was removed"):
        assert part in str(caught.value)
    assert not left(home) and not (home / "weights" / "net.pth").exists()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_gone(record, server, home, status):
    server.manner["/net.pth"] = [{"status": status}]
    with pytest.raises(FetchError) as caught:
        fetch(record)
    for part in (f"answers {status}", record.url, SHA256, str(home / "weights" / "net.pth")):
        assert part in str(caught.value)
    assert len(server.requests) == 1


def test_a_server_that_is_busy_is_asked_again(record, server):
    server.manner["/net.pth"] = [{"status": 503}, {"status": 429}, {}]
    assert fetch(record).read_bytes() == CONTENT
    server.manner["/b.pth"] = [{"status": 500}]
    with pytest.raises(FetchError, match="answers 500"):
        fetch(record_of(f"{server.url}/b.pth"))
    assert len(server.requests) == 3 + download.TRIES


def test_nobody_listens(home, server):
    url = server.url + "1/net.pth" if len(server.url) < 22 else "http://127.0.0.1:1/net.pth"
    with pytest.raises(FetchError, match="127.0.0.1"):
        fetch(record_of(url))


def test_a_silent_server(record, server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.manner["/net.pth"] = [{"block": 1000, "pause": 0.5, "cut": 2000}, {}]
    assert fetch(record).read_bytes() == CONTENT


def test_redirects(record, server, home):
    target = {"status": 302, "headers": {"Location": f"{server.url}/net.pth"}}
    server.manner["/moved.pth"] = [target]
    assert fetch(record_of(f"{server.url}/moved.pth")).read_bytes() == CONTENT
    server.manner["/file.pth"] = [{"status": 302, "headers": {"Location": "file:///etc/hosts"}}]
    with pytest.raises(FetchError, match="file:///etc/hosts"):
        fetch(record_of(f"{server.url}/file.pth"))
    server.manner["/ftp.pth"] = [{"status": 302, "headers": {"Location": "ftp://127.0.0.1:1/a"}}]
    with pytest.raises(FetchError, match="only https, http and file"):
        fetch(record_of(f"{server.url}/ftp.pth"))
    server.manner["/round.pth"] = [
        {"status": 302, "headers": {"Location": f"{server.url}/round.pth"}}
    ]
    with pytest.raises(FetchError, match="round.pth"):
        fetch(record_of(f"{server.url}/round.pth"))


def test_a_redirect_from_https_to_http_needs_a_whole_hash():
    request = urllib.request.Request("https://a.org/net.pth")
    for sha256, message in ((SHA256[:8], "http needs a whole hash"), (SHA256, None)):
        handler = download._Redirects(record_of(request.full_url, sha256=sha256))
        with pytest.raises(FetchError, match=message) if message else nullcontext():
            new = handler.redirect_request(request, io.BytesIO(), 302, "", {}, "http://a.org/n")
    assert new.full_url == "http://a.org/n"


@pytest.mark.parametrize(
    ("url", "sha256", "message"),
    [
        ("http://127.0.0.1:1/a.pth", "", "http needs a whole hash"),
        ("http://127.0.0.1:1/a.pth", "0123abcd", "http needs a whole hash"),
        ("file:///nowhere/a.pth", "", "file needs a hash"),
        ("ftp://127.0.0.1:1/a.pth", SHA256, "only https, http and file"),
        (None, "", "no url is known"),
    ],
)
def test_what_is_not_fetched(home, url, sha256, message):
    with pytest.raises(FetchError, match=message):
        fetch(record_of(url, sha256=sha256, file="a.pth"))


def test_progress_in_lines_and_bars(record, server, tmp_path, capsys, monkeypatch):
    server.manner["/net.pth"] = [{"block": 30_000}]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fetch(record, home=tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    fetch(record, home=tmp_path / "b", progress=True)
    assert "net.pth: 0.3 of 0.3 MB" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    pytest.importorskip("tqdm")
    fetch(record, home=tmp_path / "c", progress=True)
    assert "100%" in capsys.readouterr().err


# -- hashes ---------------------------------------------------------------------------------------


def test_prefixes_and_sha1(home, tmp_path):
    source = tmp_path / "net.pth"
    source.write_bytes(CONTENT)
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    for facts in ({"sha256": SHA256[:8]}, {"sha256": "", "sha1": sha1}):
        path = fetch(record_of(source.as_uri(), **facts), home=tmp_path / str(len(facts)))
        assert path.read_bytes() == CONTENT
    for facts in ({"sha256": "0" * 8}, {"sha256": "", "sha1": "0" * 40}):
        with pytest.raises(FetchError, match="published is SHA-"):
            fetch(record_of(source.as_uri(), **facts), home=tmp_path / "x")


def test_a_file_that_changes_after_its_first_use(home, tmp_path):
    source = tmp_path / "net.pth"
    source.write_bytes(CONTENT)
    record = record_of(source.as_uri(), sha256=SHA256[:8])
    path = fetch(record)
    path.write_bytes(b"something else")
    with pytest.raises(FetchError, match="is not what"):
        fetch(record)
    # A prefix alone would be satisfied; the hash of the first use is not.
    known = json.loads((home / "weights" / "net.pth.json").read_text())
    known["sha256"], known["seen"] = SHA256[:8] + "0" * 56, {}
    (home / "weights" / "net.pth.json").write_text(json.dumps(known))
    path.write_bytes(CONTENT)
    with pytest.raises(FetchError, match="has changed since its first use"):
        fetch(record)
    path.unlink()
    with pytest.raises(FetchError, match="at its first use it was"):
        fetch(record)
    (home / "weights" / "net.pth.json").write_text("no json")
    assert fetch(record).read_bytes() == CONTENT


def test_a_file_put_there_by_hand(record, home, server):
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "net.pth").write_bytes(CONTENT)
    assert fetch(record, offline=True).read_bytes() == CONTENT
    assert not server.requests


def test_the_hash_of_a_file_is_computed_once(record, monkeypatch):
    path = fetch(record)
    monkeypatch.setattr(download, "file_sha256", None)
    assert fetch(record) == path


def test_names_of_files_stay_in_the_folder():
    for url in ("https://a.org/.hidden", "https://a.org/a%2f..", "https://a.org/a%00b"):
        with pytest.raises(ValueError, match="not the name of a file"):
            WeightsRecord("resnet18", "mine", url)
    assert WeightsRecord("resnet18", "mine", "https://a.org/b%2Fc.pth").file == "c.pth"
    for facts in ({"sha256": "xyz"}, {"sha256": "ab"}, {"sha1": "abcd"}):
        with pytest.raises(ValueError, match="digits"):
            WeightsRecord("resnet18", "mine", **facts)


# -- other folders --------------------------------------------------------------------------------


def test_files_of_torch_are_used_where_they_are(record, home, tmp_path, server):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(b"another file of that name")
    assert fetch(record) == home / "weights" / "net.pth"
    (home / "weights" / "net.pth").unlink()
    (folder / "net.pth").write_bytes(CONTENT)
    before = len(server.requests)
    assert fetch(record) == folder / "net.pth"
    assert fetch(record, offline=True) == folder / "net.pth"
    assert len(server.requests) == before
    assert [p.name for p in folder.iterdir()] == ["net.pth"]


def test_a_file_of_unknown_hash_is_not_taken_from_others(home, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(CONTENT)
    with pytest.raises(FetchError, match="switched off"):
        fetch(record_of("https://a.org/net.pth", sha256=""), offline=True)


def snapshot(hub, repository, content, file="model.safetensors", name=None):
    """A file as huggingface_hub keeps it: a link to a blob that is named by its hash."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    blob = folder / "blobs" / (name or hashlib.sha256(content).hexdigest())
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    link = folder / "snapshots" / "0123" / file
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    return link


def test_files_of_hugging_face(home, tmp_path, monkeypatch):
    hub = tmp_path / "hf" / "hub"
    url = "https://huggingface.co/timm/net/resolve/0123abc/model.safetensors"
    record = record_of(url, file="net.safetensors")
    link = snapshot(hub, "timm/net", CONTENT)
    assert fetch(record, offline=True) == link
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "moved"))
    with pytest.raises(FetchError):
        fetch(record, offline=True)
    hub.rename(tmp_path / "moved")


def test_the_same_weights_in_another_format_on_hugging_face(home, tmp_path):
    hub = tmp_path / "hf" / "hub"
    record = record_of(
        "https://a.org/net.pth", hub=("timm/damaged", "timm/plain", "timm/same"), sha256="0" * 64
    )
    snapshot(hub, "timm/damaged", CONTENT, name="0" * 64)
    snapshot(hub, "timm/plain", CONTENT, name="model")
    with pytest.raises(FetchError):
        fetch(record, offline=True)
    link = snapshot(hub, "timm/same", CONTENT)
    assert fetch(record, offline=True) == link
    assert fetch(record, offline=True) == link
    link.resolve().write_bytes(b"changed")
    with pytest.raises(FetchError):
        fetch(record, offline=True)


def test_files_of_caffe(home, tmp_path, monkeypatch):
    folder = tmp_path / "caffe" / "models" / "net"
    folder.mkdir(parents=True)
    (folder / "net.caffemodel").write_bytes(CONTENT)
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    record = record_of("http://a.org/net.caffemodel", sha256="", sha1=sha1, naming="caffe")
    with pytest.raises(FetchError):
        fetch(record, offline=True)
    monkeypatch.setenv("CAFFE_ROOT", str(tmp_path / "caffe"))
    assert fetch(record, offline=True) == folder / "net.caffemodel"


# -- when it cannot be had ------------------------------------------------------------------------


@pytest.mark.parametrize("variable", [None, "1", "yes"])
def test_offline(home, monkeypatch, variable):
    if variable is not None:
        monkeypatch.setenv("SKDEEP_OFFLINE", variable)
    record = record_of("https://a.org/net.pth")
    with pytest.raises(FetchError) as caught:
        fetch(record, offline=None if variable else True)
    for part in (record.url, SHA256, str(home / "weights" / "net.pth"), "SKDEEP_OFFLINE"):
        assert part in str(caught.value)
    assert not home.exists()


def test_offline_can_be_off(record, monkeypatch):
    monkeypatch.setenv("SKDEEP_OFFLINE", "1")
    assert fetch(record, offline=False).exists()


def test_a_home_that_cannot_be_written_to(record, home, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(FetchError, match="cannot be written to .* set SKDEEP_HOME"):
        fetch(record)


def test_a_home_that_is_a_file(record, home):
    home.write_text("")
    with pytest.raises(FetchError, match="home"):
        fetch(record)


def test_a_read_only_home_that_has_the_file(record, home, monkeypatch):
    path = fetch(record)
    (home / "weights" / "net.pth.json").unlink()

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    assert fetch(record) == path


def test_a_full_disk_keeps_the_part(record, home, server, monkeypatch):
    """The disk fills after the first block."""
    monkeypatch.setattr(download, "CHUNK", 50_000)
    advance = download._Progress.advance

    def full(self, count):
        advance(self, count)
        if self.done >= 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download._Progress, "advance", full)
        with pytest.raises(FetchError, match=r"disk of .* is full; what has come is kept"):
            fetch(record)
    assert fetch(record).read_bytes() == CONTENT
    assert int(server.requests[-1][1].strip("bytes=-")) >= 100_000


def test_too_little_room_is_noticed_before(record, home, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(FetchError, match="is full"):
        fetch(record)


def test_ctrl_c_keeps_the_part(record, home, server, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 50_000)
    advance = download._Progress.advance

    def interrupt(self, count):
        advance(self, count)
        if self.done >= 100_000:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download._Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(record)
    assert fetch(record).read_bytes() == CONTENT
    assert int(server.requests[-1][1].strip("bytes=-")) >= 100_000


def test_a_local_file_is_only_named(tmp_path):
    path = tmp_path / "net.pth"
    record = WeightsRecord("resnet18", "net.pth", path=str(path))
    with pytest.raises(FetchError, match="is not there"):
        fetch(record)
    path.write_bytes(b"")
    assert fetch(record) == path


# -- several processes ----------------------------------------------------------------------------

FETCH = """
import sys
from skdeep.features import WeightsRecord, fetch
print(fetch(WeightsRecord("resnet18", "mine", sys.argv[1], sha256=sys.argv[2]), home=sys.argv[3]))
"""


def start(record, home):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(skdeep.__file__).parents[1]), *sys.path]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, record.url, record.sha256, str(home)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_a_process_that_is_killed_in_between(record, home, server):
    part = home / "weights" / "net.pth.part"
    server.manner["/net.pth"] = [{"block": 10_000, "pause": 0.02}, {}]
    process = start(record, home)
    wait_for(lambda: part.exists() and part.stat().st_size > 0, process)
    process.kill()
    process.communicate()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert fetch(record).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={kept}-"
    assert not left(home)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process alone")
def test_a_process_that_is_interrupted(record, home, server):
    part = home / "weights" / "net.pth.part"
    server.manner["/net.pth"] = [{"block": 10_000, "pause": 0.02}, {}]
    process = start(record, home)
    wait_for(lambda: part.exists() and part.stat().st_size > 0, process)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert fetch(record).read_bytes() == CONTENT
    assert server.requests[-1][1].startswith("bytes=")


def test_processes_that_want_the_same_file(record, home, server):
    server.manner["/net.pth"] = [{"block": 30_000, "pause": 0.1}]
    processes = [start(record, home) for _ in range(2)]
    for process in processes:
        out, err = process.communicate()
        assert out.strip() == str(home / "weights" / "net.pth"), err
    assert fetch(record).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_process_takes_over_from_one_that_was_killed(record, home, server):
    part = home / "weights" / "net.pth.part"
    server.manner["/net.pth"] = [{"block": 10_000, "pause": 0.2}, {}]
    first = start(record, home)
    wait_for(lambda: part.exists() and part.stat().st_size > 0, first)
    second = threading.Thread(target=fetch, args=(record,))
    second.start()
    second.join(0.3)
    assert second.is_alive() and len(server.requests) == 1
    first.kill()
    first.communicate()
    second.join()
    assert fetch(record, offline=True).read_bytes() == CONTENT
    assert server.requests[1][1].startswith("bytes=") and len(server.requests) == 2


def test_threads_and_file_systems_without_locks(record, home, server, monkeypatch):
    monkeypatch.setattr(download, "try_lock", lambda _: False)
    assert fetch(record).read_bytes() == CONTENT
    assert not left(home)


def test_a_lock_is_exclusive(tmp_path):
    with open(tmp_path / "a", "wb") as first, open(tmp_path / "a", "ab") as second:
        assert locks.try_lock(first.fileno())
        assert not locks.try_lock(second.fileno())
        first.close()
        assert locks.try_lock(second.fileno())

"""Weights files: found on this machine, or fetched, and verified either way."""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from .locks import try_lock

__all__ = ["FetchError", "fetch"]

TIMEOUT = 30  # seconds without a byte
TRIES = 4  # in a row that bring nothing
PAUSE = 0.5  # seconds before the second try; twice as many before each further one
CONNECTIONS = 100  # at most, of one file
CHUNK = 1 << 20
HUGGING_FACE = re.compile(r"https://huggingface\.co/([^/]+)/([^/]+)/resolve/[^/]+/([\w./-]+)$")
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class FetchError(OSError):
    """Weights that cannot be had; the message says where they are and where to put them.

    Examples
    --------
    >>> from skdeep.features import FetchError, WeightsRecord, fetch
    >>> record = WeightsRecord("resnet18", "mine", "https://example.org/mine.pth")
    >>> try:
    ...     fetch(record, home="nowhere", offline=True)
    ... except FetchError as error:
    ...     print("https://example.org/mine.pth" in str(error))
    True
    """


class _Interrupted(Exception):
    """The connection failed in a way that may pass."""


def fetch(record, *, home=None, offline=None, progress=False):
    """The path of a weights file, fetched when it is not on this machine yet.

    Looked at first, and only read: the folders of torch (``TORCH_HOME``), Hugging Face
    (``HF_HUB_CACHE``, ``HF_HOME``), Caffe (``CAFFE_ROOT``) and Keras (``KERAS_HOME``). A file
    counts when its hash is that of the record; what is known of its hash is kept beside it, so that
    it is computed once.

    Parameters
    ----------
    record : WeightsRecord
        As :func:`find_weights` gives it.
    home : path or None, default=None
        The folder that has, or gets, ``weights/FILE``; None: the environment variable
        ``SKDEEP_HOME``, else ``~/skdeep_data``.
    offline : bool or None, default=None
        True: nothing is fetched; None: as the environment variable ``SKDEEP_OFFLINE`` says.
    progress : bool, default=False
        Show how far it is: with tqdm where it is installed, else in lines.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FetchError
        When the file cannot be had, or is another one than the record describes.

    Examples
    --------
    >>> import hashlib, pathlib, tempfile
    >>> from skdeep.features import WeightsRecord, fetch
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "w.npz").write_bytes(b"weights")
    >>> record = WeightsRecord("resnet18", "mine", (folder / "w.npz").as_uri(),
    ...                        sha256=hashlib.sha256(b"weights").hexdigest())
    >>> fetch(record, home=folder / "home").read_bytes()
    b'weights'
    """
    if record.path is not None:
        if not os.path.isfile(record.path):
            raise FetchError(f"the weights file {record.path!r} is not there.")
        return Path(record.path)
    target = data_home(home) / "weights" / record.file
    if record.file and target.is_file():
        return _verified(record, target)
    found = _elsewhere(record, target)
    if found is not None:
        return found
    if offline is None:
        offline = os.environ.get("SKDEEP_OFFLINE", "0").lower() not in ("", "0", "false", "no")
    if record.url is None:
        raise FetchError(f"{_title(record)} are not fetched: {record.note or 'no url is known.'}")
    if offline:
        raise FetchError(_by_hand(record, target, "downloads are switched off (SKDEEP_OFFLINE)"))
    _check_scheme(record, record.url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target) as lonely:
            if target.is_file():  # another process has fetched it meanwhile
                return _verified(record, target)
            _download(record, target, lonely, progress)
    except FetchError:
        raise
    except OSError as error:
        raise FetchError(_by_hand(record, target, _reason(error, target))) from error
    return target


def data_home(home=None):
    """The folder of skdeep's data: as given, else SKDEEP_HOME, else ~/skdeep_data."""
    return Path(home or os.environ.get("SKDEEP_HOME") or "~/skdeep_data").expanduser().absolute()


def file_sha256(path):
    """The SHA-256 of a file in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _title(record):
    return f"weights {record.tag!r} of {record.network!r}"


def _by_hand(record, target, reason):
    size = f", {record.size / 1e6:.0f} MB" if record.size else ""
    return (
        f"{_title(record)} cannot be had: {reason}. Get {record.url} ({record.hash}{size}) by "
        f"other means and put it at {target}, or pass the path of a file as weights."
    )


def _reason(error, target):
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        part = _part(target)
        kept = f"; what has come is kept in {part} and counts" if part.exists() else ""
        return f"the disk of {target.parent} is full{kept}"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return (
            f"{target.parent} cannot be written to ({error.strerror}); set SKDEEP_HOME to a folder "
            "that can"
        )
    return f"{type(error).__name__}: {error}"


# -- hashes -------------------------------------------------------------------------------------


def _sidecar(target):
    return target.with_name(target.name + ".json")


def _known(target):
    """What the sidecar says: "sha256", and "seen": sizes and times of verified files, by path."""
    try:
        known = json.loads(_sidecar(target).read_text(encoding="utf-8"))
        return {"sha256": str(known["sha256"]), "seen": dict(known["seen"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stamp(path):
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _remember(target, path, sha256):
    """Write the sidecar; where nothing can be written the hash is computed again next time."""
    known = _known(target)
    seen = known["seen"] if known and known["sha256"] == sha256 else {}
    seen[str(path)] = _stamp(path)
    temporary = _sidecar(target).with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"sha256": sha256, "seen": seen}), encoding="utf-8")
        os.replace(temporary, _sidecar(target))


def _fits(record, path, sha256):
    """Whether a file with this SHA-256 is the record's."""
    if record.sha256:
        return sha256.startswith(record.sha256)
    for kind, digest in (("sha1", record.sha1), ("md5", record.md5)):
        if digest:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, kind).hexdigest() == digest
    return True


def _verified(record, target):
    """``target`` itself, when it is what it was at its first use and what the record says."""
    known = _known(target)
    if known and known["seen"].get(str(target)) == _stamp(target):
        if known["sha256"].startswith(record.sha256):
            return target
    sha256 = file_sha256(target)
    if not _fits(record, target, sha256):
        raise FetchError(
            f"{target} is not what {_title(record)} are: its SHA-256 is {sha256}, published is "
            f"{record.hash}. Delete it to have it fetched again from {record.url}."
        )
    if known and known["sha256"] != sha256:
        raise FetchError(
            f"{target} has changed since its first use: its SHA-256 was {known['sha256']} and is "
            f"{sha256}. Delete it to have it fetched again from {record.url}; if the change was "
            f"meant, delete {_sidecar(target)}."
        )
    _remember(target, target, sha256)
    return target


# -- what other programs have left --------------------------------------------------------------


def _environment(*names, default):
    """The first of the variables that is set, with what follows it, else a folder below home."""
    for name, rest in names:
        if os.environ.get(name):
            return Path(os.environ[name], rest).expanduser()
    return Path("~/.cache").expanduser() / default


def _candidates(record):
    """Files that may be the record's, each with the repository of Hugging Face it is from."""
    torch = _environment(
        ("TORCH_HOME", "hub"), ("XDG_CACHE_HOME", "torch/hub"), default="torch/hub"
    )
    yield torch / "checkpoints" / record.file, None
    hub = _environment(
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        default="huggingface/hub",
    )
    if parts := HUGGING_FACE.match(record.url or ""):
        owner, name, file = parts.groups()
        for path in sorted(hub.glob(f"models--{owner}--{name}/snapshots/*/{file}")):
            yield path, None
    for repository in record.hub:
        folder = f"models--{repository.replace('/', '--')}"
        for path in sorted(hub.glob(f"{folder}/snapshots/*/model.safetensors")):
            yield path, repository
    if record.naming == "caffe" and os.environ.get("CAFFE_ROOT"):
        models = Path(os.environ["CAFFE_ROOT"], "models")
        yield models / Path(record.file).stem / record.file, None
    if record.naming == "keras":
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        yield home / "models" / record.file, None


def _elsewhere(record, target):
    """A file of another program that is the record's, or None."""
    if not record.file:
        return None
    for path, repository in _candidates(record):
        with contextlib.suppress(OSError):
            if not path.is_file():
                continue
            if repository is not None:
                # Its contents are those of the record in another format, so that the record's hash
                # is not its own; Hugging Face names the file behind the link by its SHA-256.
                if _is_intact(target.with_name(path.parents[2].name), path):
                    return path
            elif _is_the_records(record, target, path):
                return path
    return None


def _is_the_records(record, target, path):
    known = _known(target)
    if known and known["seen"].get(str(path)) == _stamp(path):
        if known["sha256"].startswith(record.sha256):
            return True
    sha256 = file_sha256(path)
    fits = _fits(record, path, sha256) and not (known and known["sha256"] != sha256)
    # Without a published hash a file of that name may be anything.
    if not fits or not (record.sha256 or record.sha1 or record.md5):
        return False
    _remember(target, path, sha256)
    return True


def _is_intact(target, path):
    name = path.resolve().name
    if len(name) != 64:
        return False
    known = _known(target)
    if known and known["sha256"] == name and known["seen"].get(str(path)) == _stamp(path):
        return True
    if file_sha256(path) != name:
        return False
    _remember(target, path, name)
    return True


# -- the download -------------------------------------------------------------------------------


def _part(target):
    return target.with_name(target.name + ".part")


@contextlib.contextmanager
def _turn(target):
    """Wait until no other process fetches the same file.

    Gives whether that is certain; where the file system has no locks each has a part of its own.
    """
    with open(target.with_name(target.name + ".lock"), "a+b") as file:
        locked = try_lock(file.fileno())
        if not locked and _locks_work_beside(target):
            while not (locked := try_lock(file.fileno())):
                time.sleep(0.1)
        yield locked


def _locks_work_beside(target):
    probe = target.with_name(f"{target.name}.{os.getpid()}.lock")
    try:
        with open(probe, "wb") as file:
            return try_lock(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def _check_scheme(record, url):
    """Others than https give no certainty of whom one talks to, so that the hash must."""
    scheme = urlsplit(url).scheme
    if scheme == "https":
        return
    if scheme == "http" and (len(record.sha256) == 64 or record.sha1):
        return
    if scheme == "file" and (record.sha256 or record.sha1):
        return
    needs = {"http": "a whole hash", "file": "a hash"}.get(scheme)
    raise FetchError(
        f"{_title(record)} are not fetched from {url}: "
        + (f"{scheme} needs {needs} in the record." if needs else "only https, http and file are.")
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, record):
        self.record = record

    def redirect_request(self, request, file, code, message, headers, url):
        try:
            if urlsplit(url).scheme == "file":
                raise FetchError(f"{request.full_url} leads to {url}, which is not fetched.")
            _check_scheme(self.record, url)
        except FetchError:
            file.close()
            raise
        return super().redirect_request(request, file, code, message, headers, url)


def _download(record, target, locked, progress):
    """Bring ``target`` about, in as many connections as it takes."""
    part = _part(target) if locked else target.with_name(f"{target.name}.{os.getpid()}.part")
    opener = urllib.request.build_opener(_Redirects(record))
    resumed = _size(part) > 0
    with _Progress(record.file, progress) as shown:
        sha256 = _complete(record, target, part, opener, shown)
        if not _fits(record, part, sha256) and resumed:
            _forget(part)  # the older part may have been of another file
            sha256 = _complete(record, target, part, opener, shown)
    known = _known(target)
    if not _fits(record, part, sha256):
        wanted, remedy = f"published is {record.hash}", ""
    elif known and known["sha256"] != sha256:
        wanted = f"at its first use it was {known['sha256']}"
        remedy = f" If the change was meant, delete {_sidecar(target)}."
    else:
        os.replace(part, target)
        _forget(part)
        _remember(target, target, sha256)
        return
    _forget(part)
    raise FetchError(
        f"{record.url} gives a file that is not what {_title(record)} are: its SHA-256 is "
        f"{sha256}, {wanted}. It was removed.{remedy}"
    )


def _complete(record, target, part, opener, shown):
    """Have all of the file in ``part``; gives its SHA-256."""
    tries = 0
    for _ in range(CONNECTIONS):
        before = _size(part)
        try:
            _transfer(record, target, part, opener, shown)
            return file_sha256(part)
        except _Interrupted as error:
            tries = 1 if _size(part) > before else tries + 1
            reason = str(error)
        if tries == TRIES:
            break
        time.sleep(PAUSE * 2 ** (tries - 1))
    kept = f"; {_size(part)} bytes are kept in {part} and count" if _size(part) else ""
    raise FetchError(_by_hand(record, target, f"{reason}{kept}"))


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _state(part):
    return part.with_name(part.name + ".json")


def _forget(part):
    for path in (part, _state(part)):
        path.unlink(missing_ok=True)


def _transfer(record, target, part, opener, shown):
    """One connection: append what comes to ``part``; raises _Interrupted when it is cut short."""
    headers = {"User-Agent": "skdeep", "Accept-Encoding": "identity"}
    start, validator = _size(part), _validator(record, part)
    if start and validator is not None:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    try:
        with opener.open(
            urllib.request.Request(record.url, headers=headers), timeout=TIMEOUT
        ) as response:
            start, total = _extent(response, start)
            _write_state(record, part, response)
            _check_room(part, total - start if total else 0)
            shown.begin(start, total or record.size)
            _append(response, part, start, shown)
    except urllib.error.HTTPError as error:
        error.close()
        text = f"{record.url} answers {error.code} {error.reason}"
        if error.code == 416:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return  # all of it had come
            _forget(part)  # it is no part of this file
        elif error.code not in TEMPORARY:
            raise FetchError(_by_hand(record, target, text)) from error
        raise _Interrupted(text) from error
    except urllib.error.URLError as error:
        raise _Interrupted(f"{record.url}: {error.reason}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Interrupted(f"{record.url}: {type(error).__name__}: {error}") from error
    if total is not None and _size(part) != total:
        raise _Interrupted(f"{record.url} gave {_size(part)} of {total} bytes")


def _validator(record, part):
    """What tells whether a part is of the file that the url gives now; None: not of this url."""
    try:
        state = json.loads(_state(part).read_text(encoding="utf-8"))
        return str(state["validator"]) if state["url"] == record.url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_state(record, part, response):
    etag = response.headers.get("ETag") or ""
    validator = etag if etag.startswith('"') else response.headers.get("Last-Modified") or ""
    state = json.dumps({"url": record.url, "validator": validator})
    _state(part).write_text(state, encoding="utf-8")


def _extent(response, start):
    """(first byte, total or None) of what comes."""
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    if response.status != 206:
        return 0, total
    unit, _, extent = response.headers.get("Content-Range", "").partition(" ")
    first, _, whole = extent.partition("/")
    if unit != "bytes" or first.split("-")[0] != str(start):
        raise http.client.HTTPException(f"another range than asked for: {extent!r}")
    return start, int(whole) if whole.isdigit() else None


def _check_room(part, needed):
    if needed > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed", os.fspath(part))


def _append(response, part, start, shown):
    with open(part, "r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while block := response.read1(CHUNK):
            file.write(block)
            shown.advance(len(block))
        file.flush()
        os.fsync(file.fileno())


class _Progress:
    """How far a download is: a bar of tqdm's, or a line for each tenth."""

    def __init__(self, name, wanted):
        self.name, self.wanted, self.bar, self.tenth = name, wanted, None, -1

    def begin(self, done, total):
        self.done, self.total = done, total
        if self.wanted and self.bar is None:
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self.bar = tqdm(desc=self.name, unit="B", unit_scale=True, total=total or None)
        if self.bar is not None:
            self.bar.n = done
        self.advance(0)

    def advance(self, count):
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif self.wanted and self.total and self.done * 10 // self.total > self.tenth:
            self.tenth = self.done * 10 // self.total
            print(
                f"{self.name}: {self.done / 1e6:.1f} of {self.total / 1e6:.1f} MB",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

"""Object stores (s3://bucket/key, gs://, az://): what is read is fetched under its own name, what is written appears whole.

Credentials, region and endpoint are those of the environment (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL …), as
obstore and polars both read them. Needs the extra `objects`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maillog_forensics import scratch
from maillog_forensics.errors import MaillogForensicsError, NoInputError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_URL = re.compile(r"(?i)^(s3a?|gs|az|abfss?|adl|azure)://([^/]+)/?(.*)$")
_GLOB = re.compile(r"[*?\[]")
_REFUSALS = ("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
_CHECK = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_RETRIES: Any = {"max_retries": 3}


class _StoreError(MaillogForensicsError):
    """What a store said, in one sentence."""


def is_url(path: str) -> bool:
    """Whether a path names an object or a prefix in a store."""
    return bool(_URL.match(path))


@contextmanager
def fetched(paths: list[str], *, only_names: bool = False) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The paths, with a folder in place of each URL, and the URL of each file in it; the folders go with the context.

    A URL is an object, a prefix (everything below it) or a glob. The files' paths end like the objects' keys, since names of
    files and folders tell hosts, days and rotation, and they have the objects' time.

    Parameters
    ----------
    only_names
        The files are stand-ins of the objects' length without content, for whoever has the objects read elsewhere.

    Raises
    ------
    NoInputError
        When there is no such object, or the store can't be reached or refuses.
    """
    if not any(map(is_url, paths)):
        yield paths, {}
        return
    here: list[str] = []
    shown: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="maillog-forensics-") as copies:
        for number, path in enumerate(paths):
            if is_url(path):
                folder = Path(copies, f"{number:06d}")
                with _reading(path):
                    shown |= _fetch(path, folder, only_names)
                path = str(folder)
            here.append(path)
        yield here, shown


@contextmanager
def copied(url: str) -> Iterator[str]:
    """A file with the content and the time of one object, whose path ends like its key; it goes with the context.

    Raises
    ------
    NoInputError
        As in `fetched`.
    """
    root, bucket, key = _split(url)
    with tempfile.TemporaryDirectory(prefix="maillog-forensics-") as copies:
        with _reading(url):
            import obstore

            store = _store(root)
            found = obstore.head(store, key)
            place = _place(Path(copies), bucket, found)
            _download(store, found, place)
        yield str(place)


def spans(url: str, places: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of one object from each begin to each end.

    Raises
    ------
    NoInputError
        As in `fetched`.
    """
    root, _, key = _split(url)
    with _reading(url):
        import obstore

        starts, ends = zip(*places)
        return [bytes(b) for b in obstore.get_ranges(_store(root), key, starts=starts, ends=ends)]


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        with _plainly(url):
            yield
    except _StoreError as error:
        raise NoInputError(str(error)) from error


def _fetch(url: str, folder: Path, only_names: bool) -> dict[str, str]:
    root, bucket, key = _split(url)
    store = _store(root)
    files: dict[str, str] = {}
    for found in _listed(store, key):
        place = _place(folder, bucket, found)
        if only_names:
            place.touch()
            os.truncate(place, found["size"])
            _dated(place, found)
        else:
            _download(store, found, place)
        files[str(place)] = f"{root}/{found['path']}"
    if not files:
        raise NoInputError(f"{url}: no such object; check the spelling, or name the prefix that holds the logs")
    return files


def _place(folder: Path, bucket: str, found: Any) -> Path:
    """Where the file of an object stands; what its key says can't leave the folder."""
    place = folder.joinpath(bucket, *(part for part in found["path"].split("/") if part not in ("", ".", "..")))
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _download(store: ObjectStore, found: Any, place: Path) -> None:
    import obstore

    with place.open("wb") as file:
        for piece in obstore.get(store, found["path"]).stream(min_chunk_size=8 << 20):
            with scratch.writing():
                file.write(piece)
    _dated(place, found)


def _dated(place: Path, found: Any) -> None:
    """Give the file the object's time: the clock of yearless stamps looks at it."""
    os.utime(place, (found["last_modified"].timestamp(),) * 2)


def _listed(store: ObjectStore, key: str) -> list[Any]:
    """The object of that name, or everything below the prefix; names that begin with a dot are left out."""
    import obstore
    from obstore.exceptions import NotFoundError

    fixed = _GLOB.split(key)[0]
    if key and fixed == key and not key.endswith("/"):
        try:
            return [obstore.head(store, key)]
        except (NotFoundError, FileNotFoundError):
            pass
    prefix = key if fixed == key else fixed.rpartition("/")[0]
    found = [o for batch in obstore.list(store, prefix=prefix or None) for o in batch]
    if fixed != key:
        found = [o for o in found if fnmatch.fnmatchcase(o["path"], key)]
    seen = [o for o in found if not any(part.startswith(".") for part in o["path"].split("/"))]
    return sorted(seen, key=lambda o: o["path"])


def put(path: str, url: str) -> None:
    """Upload a file; the object is there when the last byte is, or not at all.

    Raises
    ------
    UsageError
        When the store can't be reached, or refuses.
    """
    import obstore

    root, _, key = _split(url)
    if not key or key.endswith("/"):
        raise UsageError(f"{url}: the name of an object is missing; write for instance {url.rstrip('/')}/events.parquet")
    try:
        with _plainly(url):
            obstore.put(_store(root), key, Path(path))
    except _StoreError as error:
        raise UsageError(str(error)) from error


def _split(url: str) -> tuple[str, str, str]:
    """Root of the store, bucket, key."""
    match = _URL.match(url)
    if match is None:
        raise UsageError(f"{url}: no URL of an object store; write for instance s3://bucket/logs/")
    scheme, bucket, key = match.groups()
    return f"{scheme.lower()}://{bucket}", bucket, key


def _store(root: str) -> ObjectStore:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise UsageError(
            f"{root}: object stores need one more package; type: pip install 'maillog-forensics[objects]'"
        ) from error
    return from_url(root, retry_config=_RETRIES)


@contextmanager
def _plainly(url: str) -> Iterator[None]:
    """Errors of the store as one sentence that says what to do."""
    try:
        from obstore import exceptions as told
    except ImportError as error:
        raise UsageError(f"{url}: object stores need one more package; type: pip install 'maillog-forensics[objects]'") from error
    try:
        yield
    except (told.UnauthenticatedError, told.PermissionDeniedError, PermissionError) as error:
        raise _StoreError(
            f"{url}: the store refused these credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (told.NotFoundError, FileNotFoundError) as error:
        raise _StoreError(f"{url}: no such bucket or object; check the spelling of {_split(url)[1]}") from error
    except told.BaseError as error:
        raise _StoreError(f"{url}: {_reason(str(error), _split(url)[1])}") from error


def _reason(text: str, bucket: str) -> str:
    """The store's own words, without the stack around them."""
    code = re.search(r"<Code>([^<]+)</Code>", text)
    if code is None:
        return f"the store can't be reached; check AWS_ENDPOINT_URL and the network ({' '.join(text.split())[:160]})"
    if code.group(1) in _REFUSALS:
        return f"the store refused these credentials ({code.group(1)}); {_CHECK}"
    if code.group(1) == "NoSuchBucket":
        return f"no such bucket or object; check the spelling of {bucket}"
    words = re.search(r"<Message>([^<]+)</Message>", text)
    return f"the store says {code.group(1)}{': ' + words.group(1) if words else ''}"

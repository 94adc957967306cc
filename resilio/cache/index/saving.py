"""An index in files: written whole or not at all, and read only where nothing is in doubt.

    offset  0  8 bytes   b"resilidx"
            8  uint32    format, little-endian as all numbers here: 1
           12  uint32    length of the header
           16            header, JSON: embedder, dimension, count, in_graph, graph
                         sha256 of everything before it, 32 bytes
                         labels, int64; tickets, int64, rising; vectors, float32, shape (count, dimension)
                         sha256 of everything before it, 32 bytes

The first `in_graph` vectors are nodes of the graph too. Its links are a file of their own, which hnswlib writes and
reads, `<name>.graph-<checksum>`; the header names it with its size and checksum. It is written first and the old one
goes last, so at each moment the file in place names a graph that is there. Where the graph is in doubt the vectors are
read and it is built anew; where the file is, nothing is read and `IndexUnusable` says why.

Functions here block: they are called from a thread. One process saves to one path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson

from resilio.cache.index.flat import Rows
from resilio.cache.index.graph import Graph
from resilio.errors import ResilioError

if TYPE_CHECKING:
    from resilio.cache.index.checks import Floats, Numbers

__all__ = ["Content", "IndexUnusable", "Loaded", "read", "write"]

MAGIC: Final = b"resilidx"
FORMAT: Final = 1
START: Final = struct.Struct("<8sII")
DIGEST: Final = 32
LONGEST_HEADER: Final = 65_536
CHUNK: Final = 1024
"""Vectors, or KiB of a file, that are read or written at a time."""


class IndexUnusable(ResilioError):
    """A saved index that cannot be taken up; start with an empty one.

    Attributes:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"the saved index {path} cannot be used: {reason}")


class Content(NamedTuple):
    """What is saved: an index as of one moment."""

    embedder_id: str
    dimension: int
    labels: Numbers
    tickets: Numbers
    in_graph: int
    """So many of the first entries are nodes of the graph."""
    rows: Rows
    """Where the others are."""
    graph: Graph | None


class Loaded(NamedTuple):
    """What was read."""

    labels: Numbers
    tickets: Numbers
    fresh: Floats
    """Vectors of the last entries: of all that are not in the graph."""
    graph: Graph | None
    doubt: str | None
    """Why the graph that was saved is not used; None: it is, or there was none."""


# --- writing -----------------------------------------------------------------------------------------


def write(path: Path, content: Content) -> None:
    """Save an index. When this returns it is on the disk; a crash before leaves the one that was there.

    Raises:
        OSError: It could not be written. What was there is still there.
    """
    part = None if content.graph is None else _write_graph(path, content.graph)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            _write_vectors(_Hashed(file), content, part)
            _to_disk(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _directory_to_disk(path.parent)
    kept = part and part["file"]
    for old in _graphs(path):
        if old.name != kept:
            old.unlink(missing_ok=True)


def _write_graph(path: Path, graph: Graph) -> dict[str, Any]:
    """Write the links; returns what the header says of them."""
    temporary = path.with_name(f"{path.name}.graph.tmp")
    try:
        try:
            graph.save(temporary)
        except RuntimeError as error:
            raise OSError(f"hnswlib could not write {temporary}: {error}") from error
        with open(temporary, "rb+") as file:
            _to_disk(file)
            checksum = _checksum(file)
        size = temporary.stat().st_size
        name = f"{path.name}.graph-{checksum[:16]}"
        os.replace(temporary, path.with_name(name))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return {"file": name, "bytes": size, "sha256": checksum, "nodes": graph.count}


def _write_vectors(file: _Hashed, content: Content, part: dict[str, Any] | None) -> None:
    count = len(content.labels)
    header = orjson.dumps(
        {
            "embedder": content.embedder_id, "dimension": content.dimension, "count": count,
            "in_graph": content.in_graph, "graph": part,
        }
    )  # fmt: skip
    file.write(START.pack(MAGIC, FORMAT, len(header)) + header)
    file.write(file.digest())
    file.write(content.labels.astype("<i8").tobytes())
    file.write(content.tickets.astype("<i8").tobytes())
    for start in range(0, count, CHUNK):
        tickets = content.tickets[start : start + CHUNK]
        nodes = max(0, content.in_graph - start)
        if content.graph is not None and nodes:
            file.write(content.graph.vectors_of(tickets[:nodes]).astype("<f4").tobytes())
        if len(tickets) > nodes:
            file.write(content.rows.pick(tickets[nodes:]).astype("<f4").tobytes())
    file.write(file.digest())


# --- reading -----------------------------------------------------------------------------------------


def read(path: Path, dimension: int, embedder_id: str) -> Loaded:
    """Read a saved index.

    Args:
        path: The file.
        dimension: Of the vectors that are expected.
        embedder_id: Whose vectors are expected.

    Raises:
        IndexUnusable: There is none, or it is not whole, not as it was written, or of other vectors.
    """
    try:
        with open(path, "rb") as file:
            return _read(path, _Hashed(file), dimension, embedder_id)
    except FileNotFoundError as error:
        raise IndexUnusable(path, "there is no such file") from error
    except OSError as error:
        raise IndexUnusable(path, f"it cannot be read ({error.strerror or error})") from error


def _read(path: Path, file: _Hashed, dimension: int, embedder_id: str) -> Loaded:
    header = _read_header(path, file)
    count, in_graph = header["count"], header["in_graph"]
    size, expected = file.size, file.position + count * (16 + 4 * header["dimension"]) + DIGEST
    if size != expected:
        raise IndexUnusable(path, f"it has {size} bytes and should have {expected}")
    if header["embedder"] != embedder_id:
        raise IndexUnusable(path, f"its vectors are of embedder {header['embedder']!r}, not {embedder_id!r}")
    if header["dimension"] != dimension:
        raise IndexUnusable(path, f"its vectors have {header['dimension']} dimensions, not {dimension}")
    labels = np.frombuffer(file.read(8 * count), "<i8").astype(np.int64)
    tickets = np.frombuffer(file.read(8 * count), "<i8").astype(np.int64)
    graph, doubt = None, None
    if header["graph"] is not None:
        graph, doubt = _read_graph(path, header["graph"], dimension, tickets[:in_graph])
    fresh = _read_vectors(file, count, dimension, skipped=in_graph if graph else 0)
    if file.digest() != file.read(DIGEST):
        raise IndexUnusable(path, "its checksum is wrong: it is not what was written")
    return Loaded(labels, tickets, fresh, graph, doubt)


def _read_header(path: Path, file: _Hashed) -> dict[str, Any]:
    start = file.read(START.size)
    if len(start) < START.size or not start.startswith(MAGIC):
        raise IndexUnusable(path, "it is not the file of an index")
    _, version, length = START.unpack(start)
    if version != FORMAT:
        raise IndexUnusable(path, f"it has format {version}, and this version of resilio reads format {FORMAT}")
    header = file.read(min(length, LONGEST_HEADER))
    if file.digest() != file.read(DIGEST):
        raise IndexUnusable(path, "the checksum of its header is wrong: it is cut off, or not what was written")
    found: dict[str, Any] = orjson.loads(header)
    return found


def _read_vectors(file: _Hashed, count: int, dimension: int, *, skipped: int) -> Floats:
    """All vectors go through the checksum; those after the first `skipped` are kept."""
    fresh = np.empty((count - skipped, dimension), np.float32)
    for start in range(0, count, CHUNK):
        chunk = np.frombuffer(file.read(4 * dimension * min(CHUNK, count - start)), "<f4").reshape(-1, dimension)
        chunk = chunk[max(0, skipped - start) :]
        if len(chunk):
            at = max(start - skipped, 0)
            fresh[at : at + len(chunk)] = chunk
    return fresh


def _read_graph(path: Path, part: dict[str, Any], dimension: int, live: Numbers) -> tuple[Graph | None, str | None]:
    """The graph; or None, and why."""
    file = path.with_name(part["file"])
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != part["bytes"]:
                return None, f"{file.name} has {size} bytes and should have {part['bytes']}"
            if _checksum(stream) != part["sha256"]:
                return None, f"the checksum of {file.name} is wrong"
        graph = Graph(dimension, part["nodes"] * 5 // 4, file=file)
    except FileNotFoundError:
        return None, f"there is no {file.name}"
    except (OSError, RuntimeError) as error:
        return None, f"{file.name} cannot be read ({error})"
    if graph.count != part["nodes"]:
        return None, f"{file.name} has {graph.count} nodes and should have {part['nodes']}"
    if not graph.adopt(live):
        return None, f"{file.name} is the graph of other entries"
    return graph, None


# --- files -------------------------------------------------------------------------------------------


class _Hashed:
    """A file whose checksum is taken as it is written or read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.position = 0
        self.size = os.fstat(file.fileno()).st_size  # of this file, not of one that takes its name meanwhile

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.position += len(data)
        return data

    def digest(self) -> bytes:
        """Of all so far."""
        return self._hash.digest()


def _checksum(file: IO[bytes]) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _directory_to_disk(directory: Path) -> None:
    """Make a rename last; where directories cannot be synchronised (Windows) the system sees to it in its time."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _graphs(path: Path) -> list[Path]:
    """All graphs that were ever saved beside this file."""
    # Not a glob: there may be thousands of indexes in the folder, and each save looks.
    return [path.parent / name for name in os.listdir(path.parent) if name.startswith(f"{path.name}.graph-")]

"""Pictures, documents and recordings as parts of Gemini's: in base64, or where Google fetches them, by URL.

Nothing is fetched here: a URL that the target will not fetch itself is a `Loss`. The rule that keeps it simple: one
part in, one part or one loss out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from resilio.models import Loss
from resilio.providers.conversation import Media, Native, Odd

__all__ = ["Place", "media_part"]

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/heic", "image/heif"})
_WORDS: Final = {"image": "pictures", "document": "documents", "audio": "recordings"}
_OWN_FILES: Final = "https://generativelanguage.googleapis.com/"
_TYPES: Final[Mapping[str, str]] = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".heic": "image/heic",
    ".heif": "image/heif", ".gif": "image/gif", ".svg": "image/svg+xml", ".bmp": "image/bmp", ".tif": "image/tiff",
    ".tiff": "image/tiff", ".pdf": "application/pdf", ".txt": "text/plain", ".md": "text/markdown",
    ".csv": "text/csv", ".html": "text/html", ".htm": "text/html", ".xml": "text/xml", ".json": "text/plain",
    ".mp3": "audio/mp3", ".wav": "audio/wav", ".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
}  # fmt: skip
"""By the end of a URL's path."""


class Place(NamedTuple):
    """What is sent where."""

    fetches: bool
    """URLs of the web are fetched there."""
    in_results: bool
    """A function's result may hold pictures."""
    details: bool = True
    """Whether to tell that `detail` of a picture is lost."""


def media_part(part: Media | Native | Odd, place: Place) -> dict[str, Any] | Loss:
    """One part that is not text. A loss that is not `needed` costs a detail: ask again without `place.details`."""
    if isinstance(part, Odd):
        return Loss(part.path, part.why, needed=True)
    if isinstance(part, Native):
        return Loss(part.path, f"there is no part of type {part.type!r}", needed=True)
    inner = part.raw.get("image_url")
    if place.details and isinstance(inner, Mapping) and inner.get("detail") == "low":
        return Loss(f"{part.path}.image_url.detail", "pictures are always seen in full detail")
    if part.data:
        kind = "text/plain" if part.media_type == "application/json" else part.media_type
        if not _readable(kind):
            return Loss(part.path, f"{_WORDS[part.kind]} of type {part.media_type} are not read", needed=True)
        return {"inlineData": {"mimeType": kind, "data": part.data}}
    if not (part.url or part.file_id):
        return Loss(part.path, "it is empty", needed=True)
    return _linked(part, place)


def _linked(part: Media, place: Place) -> dict[str, Any] | Loss:
    where = part.url or part.file_id
    if part.file_id.startswith("files/"):
        where = f"{_OWN_FILES}v1beta/{part.file_id}"
    if not where.startswith((_OWN_FILES, "gs://")):
        if part.file_id:
            return Loss(part.path, f"file {part.file_id!r} is kept at another provider", needed=True)
        if not place.fetches or not where.startswith("https://"):
            return Loss(part.path, "this target fetches no such URL; send it in base64", needed=True)
    kind = _TYPES.get(PurePosixPath(urlsplit(where).path).suffix.lower(), "")
    if kind and not _readable(kind):
        return Loss(part.path, f"{_WORDS[part.kind]} of type {kind} are not read", needed=True)
    return {"fileData": {**({"mimeType": kind} if kind else {}), "fileUri": where}}


def _readable(kind: str) -> bool:
    if kind.startswith("image/"):
        return kind in _IMAGES
    return kind == "application/pdf" or kind.startswith(("text/", "audio/", "video/"))

"""What every wire format offers: the protocol dispatch and the transport rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

from resilio.config import ProviderSettings, TargetSettings
from resilio.errors import ProviderError
from resilio.models import Answer, Capability, Chunk, Embeddings, HttpRequest, LimitReading, Loss, Request

__all__ = ["Codec", "EmbeddingCodec", "StreamDecoder"]


class StreamDecoder(Protocol):
    """Reads one streamed response, in pieces of any size."""

    @property
    def complete(self) -> bool:
        """Whether the terminal event or finish reason has been seen: only then is the answer whole."""
        ...

    @property
    def comments(self) -> int:
        """Keep-alive comments so far: signs of life without content."""
        ...

    def feed(self, data: bytes) -> list[Chunk]:
        """Decode what these bytes complete, in order; an incomplete tail is kept.

        Raises:
            ProviderError: An error frame inside the stream, classified like a response of its own, or
                `MalformedResponse`. Chunks that came before it in the same bytes are returned first;
                the error is then raised by the next call.
        """
        ...

    def finish(self) -> list[Chunk]:
        """Say that the bytes ended; returns what the tail still held.

        Raises:
            MalformedResponse: with class `truncated` when the stream is not complete, `malformed` when it was
                none of this dialect's.
            ProviderError: One that was held back.
        """
        ...

    def answer(self) -> Answer:
        """Everything so far as one answer (partial unless `complete`)."""
        ...


class Codec(Protocol):
    """One wire format. Stateless and shared."""

    kind: str

    def for_provider(self, settings: ProviderSettings) -> Self:
        """The same for one provider: its errors say its name, its version and models are known.

        A longer event of a stream than its `max_body_bytes` is malformed; so is a longer body that came where a
        stream was asked for.
        """
        ...

    def unsupported(
        self, request: Request, target: TargetSettings, *, max_output_tokens: int | None
    ) -> tuple[Loss, ...]:
        """What of the request this format has no way to say to this target; empty, and cheap, for most.

        Whether such a target is asked at all is the route's to decide (`on_unsupported`); where it is, `encode` leaves
        out or weakens exactly what stands here, given the same arguments. What is `needed` is never left out.
        """
        ...

    def encode(
        self,
        request: Request,
        target: TargetSettings,
        *,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
        stream: bool,
        max_output_tokens: int | None,
    ) -> HttpRequest:
        """Build the request, without what `unsupported` tells of.

        `max_output_tokens` is sent only where the caller set no limit of their own.

        Raises:
            Unencodable: The request holds what the wire format has no form for.
        """
        ...

    def decode(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Read a whole successful (2xx) response.

        Raises:
            ProviderError: It is not an answer: HTML, broken JSON, empty choices, an error inside a 200.
        """
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes, *, wall_now: float) -> ProviderError:
        """Classify an error response by the provider's code before its status.

        `wall_now` is Unix time in seconds, for hints given as dates when the response has no Date header.
        """
        ...

    def stream_decoder(self, status: int, headers: Mapping[str, str]) -> StreamDecoder:
        """Start reading a streamed 2xx response."""
        ...

    def limits(self, headers: Mapping[str, str], *, wall_now: float) -> tuple[LimitReading, ...]:
        """Rate limits a response's headers tell of; empty when none do. Cheap when none do."""
        ...

    def prefilled(self, text: str) -> str:
        """What of a last message of the assistant's is sent, to be continued: a beginning of it.

        Blanks at its end may be lacking. Whether an answer repeats them then cannot be known before it comes.
        """
        ...

    def needs(self, request: Request) -> frozenset[Capability]:
        """What this request needs of a model beyond plain text."""
        ...

    def estimate_tokens(self, request: Request) -> int:
        """A quick count of the prompt's tokens: UTF-8 bytes / 4."""
        ...


@runtime_checkable
class EmbeddingCodec(Protocol):
    """What a wire format offers beside a `Codec`'s methods where it has embeddings; errors are the codec's as ever."""

    def encode_embeddings(
        self,
        request: Request,
        target: TargetSettings,
        *,
        base_url: str,
        key: str | None,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        """Build the request for vectors of `request.inputs`, which are not empty.

        Raises:
            Unencodable: The request holds what the wire format has no form for.
        """
        ...

    def decode_embeddings(self, status: int, headers: Mapping[str, str], body: bytes, *, count: int) -> Embeddings:
        """Read a whole successful (2xx) response to a request with `count` texts.

        Raises:
            ProviderError: It is not `count` vectors of one length and of finite numbers, or an error inside a 200.
        """
        ...

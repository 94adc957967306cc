"""A provider that costs nothing: answers every POST at once with the same bytes, in its own process.

Raw asyncio protocol, no HTTP library: what is measured is the client. Run as a script it prints its port. The
path decides:

- ``/v1/...``: one whole answer;
- ``/burst/...``: a stream of 50 chunks, sent in one write;
- ``/slow/...``: a stream of 20 chunks a second, until the client hangs up;
- ``/first/...``: a stream whose first chunk comes after 50 ms, the rest 5 ms apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"mock","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"All is well. " * 60 + b'","refusal":null},"logprobs":null,'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":30,"completion_tokens":180,"total_tokens":210,'
    b'"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}'
)
RESPONSE = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)) + ANSWER
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 50


def event(delta: bytes, finish: bytes = b"null") -> bytes:
    """One SSE event, as one HTTP chunk."""
    data = (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"mock",'
        b'"choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}\n\n' % (delta, finish)
    )
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNK = event(b'"content":"word "')
_USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"mock","choices":[],'
    b'"usage":{"prompt_tokens":30,"completion_tokens":50,"total_tokens":80}}\n\n'
)
STREAM_END = event(b"", b'"stop"') + b"%x\r\n%s\r\n" % (len(_USAGE), _USAGE) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
BURST = STREAM_HEAD + event(b'"role":"assistant","content":""') + CHUNK * CHUNKS + STREAM_END


class _Provider(asyncio.Protocol):
    def connection_made(self, transport):
        self._transport = transport
        self._buffer = b""
        self._timer = None

    def connection_lost(self, exc):
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data):
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head)

    def _answer(self, head):
        if head.startswith(b"post /burst"):
            self._transport.write(BURST)
        elif head.startswith(b"post /slow"):
            self._transport.write(STREAM_HEAD)
            self._later(0.05, None)
        elif head.startswith(b"post /first"):
            self._transport.write(STREAM_HEAD)
            self._later(0.05, 10)
        else:
            self._transport.write(RESPONSE)

    def _later(self, delay, left):
        self._timer = asyncio.get_running_loop().call_later(delay, self._chunk, left)

    def _chunk(self, left):
        if left == 0:
            self._transport.write(STREAM_END)
            return
        self._transport.write(CHUNK)
        self._later(0.05 if left is None else 0.005, None if left is None else left - 1)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Provider, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # ends when the parent does


@contextlib.contextmanager
def mock() -> Iterator[str]:
    """Start it in a process of its own; yields the origin, ``http://127.0.0.1:port``."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve())

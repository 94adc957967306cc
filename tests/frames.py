"""Streams written by hand: frames of the wire, and a simulated provider that plays them."""

import orjson

from resilio.testing.reaction import Ending

COMMENT = b": keep-alive\n\n"


def event(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def say(text):
    return event({"content": text})


def think(text):
    return event({"reasoning_content": text})


FINISH = event({}, "stop")


def plays(w, name, *pieces, ending=Ending.CLEAN):
    """This provider answers every request with these pieces: seconds before it, and bytes."""
    provider = w.providers[name]
    react = provider.react

    def played(*args, **options):
        seen, reaction = react(*args, **options)
        reaction.pieces, reaction.ending, reaction.head_delay = list(pieces), ending, 0.0
        return seen, reaction

    provider.react = played

"""Bodies and streams in the true shapes of Gemini's dialect, for the tests beside this file."""

import json

import orjson

from resilio.providers.gemini import GeminiCodec

CODEC = GeminiCodec()
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json; charset=UTF-8"}

USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 50,
    "candidatesTokenCount": 16,
    "thoughtsTokenCount": 24,
    "totalTokenCount": 140,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
}


def text(words, signature=None, **more):
    return {"text": words, **({"thoughtSignature": signature} if signature else {}), **more}


def thought(words, **more):
    return {"text": words, "thought": True, **more}


def tool(name, args=None, signature=None, **more):
    call = {"name": name, **({} if args is None else {"args": args}), **more}
    return {"functionCall": call, **({"thoughtSignature": signature} if signature else {})}


def candidate(*parts, finish="STOP", index=0, **more):
    content = {"role": "model", **({"parts": list(parts)} if parts else {})}
    ended = {"finishReason": finish} if finish else {}
    return {"content": content, "index": index, **ended, **more}


def response(*candidates, usage=USAGE, **more):
    """A whole response, or one event."""
    return {
        **({"candidates": list(candidates)} if candidates else {}),
        **({"usageMetadata": usage} if usage else {}),
        "modelVersion": "gemini-3-pro-preview",
        "responseId": "QHiLaa6L-r_8",
        **more,
    }


def event(body):
    """One event, with the line ends that Google sends."""
    return b"data: " + orjson.dumps(body) + b"\r\n\r\n"


def stream(*bodies):
    return b"".join(map(event, bodies))


def pieces(words, size):
    return [words[at : at + size] for at in range(0, len(words), size)]


def events_of(whole, size=7):
    """A whole response as the events it would have been: usage in each, the reason to finish in one of its own."""
    begun = {"promptTokenCount": 55, "totalTokenCount": 55}
    for its in whole["candidates"]:
        for part in its["content"].get("parts", ()):
            split = [part]
            if "text" in part and "thoughtSignature" not in part:
                split = [{**part, "text": each} for each in pieces(part["text"], size)]
            yield from (response(candidate(each, finish=None, index=its["index"]), usage=begun) for each in split)
    ends = [{**its, "content": {"role": "model", "parts": [{"text": ""}]}} for its in whole["candidates"]]
    yield {**whole, "candidates": ends}


SIGNED = "EjQKMgEMOdbHJuohrm0JpyWT"
WEATHER = tool("get_weather", {"city": "Köln", "days": [1, 2]}, SIGNED)
CLOCK = tool("get_time", {})
CODE = {"executableCode": {"language": "PYTHON", "code": "1 + 1"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}

RESPONSES = {
    "text": response(candidate(text("Grüße aus Köln 🌍."))),
    "two texts": response(candidate(text("One. "), text("Two."))),
    "signed text": response(candidate(text("Paris.", SIGNED))),
    "signature on its own": response(candidate(text("Paris."), text("", SIGNED))),
    "empty": response(candidate()),
    "length": response(candidate(text("Cut he"), finish="MAX_TOKENS")),
    "all thought away": response(
        candidate(finish="MAX_TOKENS"), usage={"promptTokenCount": 9, "thoughtsTokenCount": 2}
    ),
    "tools": response(candidate(text("Let me look."), WEATHER, CLOCK)),
    "tools with ids": response(
        candidate(tool("get_time", {}, SIGNED, id="a1"), tool("get_time", {"zone": 1}, id="a2"))
    ),
    "tool without arguments": response(candidate(tool("get_time"))),
    "thinking": response(candidate(thought("Two and two…"), text("4"))),
    "thinking and tools": response(candidate(thought("Hm."), text("Look:"), WEATHER)),
    "code": response(candidate(CODE, RAN, text("Two."))),
    "late block": response(candidate(text("Well, "), finish="RECITATION")),
    "explained block": response(candidate(finish="SAFETY", finishMessage="Not this.")),
    "two candidates": response(candidate(text("One")), candidate(text("Two"), index=1)),
    "no usage": response(candidate(text("Hi")), usage=None),
}

BLOCKED = {
    "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
    "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12},
    "modelVersion": "gemini-3-pro-preview",
}


def part_of(path, will_continue=False, **value):
    return {"jsonPath": path, **value, **({"willContinue": True} if will_continue else {})}


def growing(*parts, more=True, **call):
    its = {**call, **({"partialArgs": list(parts)} if parts else {}), **({"willContinue": True} if more else {})}
    return response(candidate({"functionCall": its}, finish=None), usage=None)


IN_PIECES = [
    response(candidate(tool("read_theme", signature=SIGNED), finish=None), usage=None),
    growing(name="read_screen"),
    growing(part_of("$.id", will_continue=True, stringValue="Kö")),
    growing(part_of("$.id", stringValue="ln"), part_of("$.count", numberValue=3)),
    growing(more=False),
    growing(name="read_screen"),
    growing(part_of("$.flag", boolValue=True)),
    growing(more=False),
    response(candidate(text(""))),
]
"""A stream whose calls come in pieces, as recorded."""
IN_PIECES_CALLS = [("read_theme", {}), ("read_screen", {"id": "Köln", "count": 3}), ("read_screen", {"flag": True})]


def array(*bodies):
    """What is sent where ``alt=sse`` was not asked for."""
    return json.dumps(bodies).encode()

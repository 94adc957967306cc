"""OpenAI-shaped messages and tools, read into neutral forms."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.providers.conversation import (
    Media,
    Native,
    Odd,
    Text,
    arguments_object,
    parse_data_url,
    walk,
    without_foreign,
)
from resilio.providers.tools import Choice, Format, Function, Other, asked_format, choice, output_limit, tools

PNG = base64.b64encode(b"\x89PNG\r\n" * 9).decode()


def parts(*content, role="user"):
    (turn,) = walk([{"role": role, "content": list(content)}])
    return turn.parts


def call(name="f", arguments="{}", **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def test_roles_are_four():
    messages = [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")]
    assert [turn.role for turn in walk(messages)] == ["system", "system", "user", "assistant"]


DEEP = {}
for _ in range(400):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize("arguments", [DEEP, {"a": "\ud800"}, {"a": float("nan")}, {1, 2}, {"a": object()}, {1: 2}])
def test_arguments_that_cannot_be_written_are_odd_and_no_error(arguments):
    (turn,) = walk([{"role": "assistant", "tool_calls": [call(arguments=arguments, id="c1")]}])
    assert not turn.calls
    (odd,) = turn.parts
    assert isinstance(odd, Odd)
    assert odd.path == "messages[0].tool_calls[0]"


def test_results_of_calls_that_share_an_id_are_told_apart_by_their_order():
    calls = [call("f", id="call_0"), call("g", id="call_0")]
    results = [{"role": "tool", "tool_call_id": "call_0", "content": each} for each in "12"]
    _, first, second = walk([{"role": "assistant", "tool_calls": calls}, *results])
    assert (first.call_name, second.call_name) == ("f", "g")


def test_what_was_said_aloud_is_its_transcript_or_nothing_anyone_else_knows():
    said = {"role": "assistant", "content": None, "audio": {"id": "a", "transcript": "Hi"}}
    assert [turn.parts for turn in walk([said])] == [[Text("messages[0].audio.transcript", "Hi", {})]]
    ((odd,),) = [turn.parts for turn in walk([{**said, "audio": {"id": "a"}}])]
    assert isinstance(odd, Odd)
    assert [turn.parts for turn in walk([{**said, "content": "Hi"}])] == [[Text("messages[0].content", "Hi", {})]]


def test_text_is_text_whether_a_string_or_parts():
    (whole,) = walk([{"role": "user", "content": "hello"}])
    assert whole.parts == [Text("messages[0].content", "hello", {})]
    hint = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    assert parts(hint) == [Text("messages[0].content[0]", "hello", hint)]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a.test/x.png"}},
            ("image", "", "https://a.test/x.png", ""),
        ),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}, ("image", "image/png", "", PNG)),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}}, ("audio", "audio/mp3", "", PNG)),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}", "filename": "a.pdf"}},
            ("document", "application/pdf", "", PNG),
        ),
        ({"type": "file", "file": {"file_data": PNG}}, ("document", "application/pdf", "", PNG)),
        ({"type": "file", "file": {"file_url": "https://a.test/a.pdf"}}, ("document", "", "https://a.test/a.pdf", "")),
    ],
)
def test_media_is_a_url_or_base64(part, expected):
    (media,) = parts(part)
    assert isinstance(media, Media)
    assert (media.kind, media.media_type, media.url, media.data) == expected


def test_a_file_by_id_keeps_its_id():
    (media,) = parts({"type": "file", "file": {"file_id": "file-1"}})
    assert media.file_id == "file-1"


@pytest.mark.parametrize(
    "part",
    [
        7,
        {},
        {"type": "text"},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": "ftp://a.test/x"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}},
        {"type": "file", "file": {}},
    ],
)
def test_what_has_no_meaning_is_odd_and_says_why(part):
    (odd,) = parts(part)
    assert isinstance(odd, Odd)
    assert (odd.path, bool(odd.why)) == ("messages[0].content[0]", True)


def test_parts_of_other_types_are_kept_for_whoever_knows_them():
    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    assert parts(block) == [Native("messages[0].content[0]", "document", block)]


def test_calls_without_ids_get_one_and_results_find_them_by_name_and_order():
    turns = list(
        walk(
            [
                {"role": "assistant", "tool_calls": [call("f"), call("g"), call("f")]},
                {"role": "tool", "name": "g", "content": "1"},
                {"role": "tool", "name": "f", "content": "2"},
                {"role": "tool", "content": "3"},
            ]
        )
    )
    first, second, third = turns[0].calls
    assert len({first.id, second.id, third.id}) == 3
    assert [turn.call_id for turn in turns[1:]] == [second.id, first.id, third.id]
    assert [turn.call_name for turn in turns[1:]] == ["g", "f", "f"]


def test_the_older_function_call_is_a_tool_call():
    asked, answered = walk(
        [
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
            {"role": "function", "name": "f", "content": "1"},
        ]
    )
    assert (asked.calls[0].name, asked.calls[0].arguments) == ("f", '{"a":1}')
    assert (answered.role, answered.call_id) == ("tool", asked.calls[0].id)


def test_a_result_that_answers_no_call_is_odd():
    (turn,) = walk([{"role": "tool", "content": "1"}])
    assert isinstance(turn.parts[-1], Odd)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [("", {}), ("  ", {}), ('{"a": 1}', {"a": 1}), ("[1]", {"_raw": "[1]"}), ('{"a": ', {"_raw": '{"a": '})],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments, found):
    assert arguments_object(arguments) == found


@given(st.binary(max_size=60), st.sampled_from(["image/png", "text/plain", "application/pdf"]))
def test_a_data_url_gives_back_what_went_in(data, kind):
    encoded = base64.b64encode(data).decode()
    if encoded:
        assert parse_data_url(f"data:{kind};base64,{encoded}") == (kind, encoded)
    percent = "".join(f"%{byte:02x}" for byte in data)
    found = parse_data_url(f"data:{kind},{percent}")
    assert found is not None
    assert (found[0], base64.b64decode(found[1])) == (kind, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "tool", "image_url"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tool_calls", "function", "name", "image_url", "url", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4), st.dictionaries(st.sampled_from(["tools", "tool_choice", "functions"]), JSON))
def test_nonsense_never_raises(messages, wire):
    assert len(list(walk(messages))) == len(messages)
    tools(wire)
    choice(wire)
    asked_format({"response_format": wire.get("tools")})


def test_what_another_dialect_wants_back_is_left_out_and_the_rest_is_the_same_object():
    plain = [{"role": "user", "content": "x"}]
    assert without_foreign(plain) is plain
    foreign = {"thinking_blocks": [1], "anthropic_content": [2], "gemini_content": [3]}
    mixed = [*plain, {"role": "assistant", "content": "y", **foreign}]
    assert without_foreign(mixed) == [*plain, {"role": "assistant", "content": "y"}]
    assert "thinking_blocks" in mixed[1]


def test_googles_signatures_on_calls_go_to_google_alone():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    signed = {**call, "extra_content": {"google": {"thought_signature": "x"}}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [signed, call]}]
    assert without_foreign(messages, signatures=True) is messages
    assert without_foreign(messages) == [{"role": "assistant", "content": None, "tool_calls": [call, call]}]
    assert messages[0]["tool_calls"][0] is signed
    odd = [{"role": "assistant", "tool_calls": "x"}, {"role": "assistant", "tool_calls": [7, signed]}]
    assert without_foreign(odd) == [odd[0], {"role": "assistant", "tool_calls": [7, call]}]


class TestTools:
    def test_functions_have_a_schema_with_a_type(self):
        wire = {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "description": "d"}}]}
        (tool,) = tools(wire)
        assert tool == Function(
            "tools[0]", "f", "d", {"type": "object", "properties": {}}, strict=True, raw=wire["tools"][0]
        )

    def test_the_older_functions_are_tools(self):
        (tool,) = tools({"functions": [{"name": "f", "parameters": {"type": "object"}}]})
        assert (tool.name, tool.path) == ("f", "functions[0]")

    def test_what_is_no_function_is_kept_as_it_came(self):
        search = {"type": "web_search_20250305", "name": "web_search"}
        custom = {"type": "custom", "custom": {"name": "c"}}
        assert tools({"tools": [search, custom]}) == [
            Other("tools[0]", "web_search_20250305", search),
            Other("tools[1]", "custom", custom),
        ]

    @pytest.mark.parametrize(
        ("wire", "expected"),
        [
            ({}, None),
            ({"tool_choice": "auto"}, Choice("tool_choice", "auto")),
            ({"tool_choice": "required"}, Choice("tool_choice", "required")),
            ({"tool_choice": "none"}, Choice("tool_choice", "none")),
            ({"tool_choice": "sometimes"}, None),
            ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, Choice("tool_choice", "named", "f")),
            ({"function_call": {"name": "f"}}, Choice("function_call", "named", "f")),
            (
                {
                    "tool_choice": {
                        "type": "allowed_tools",
                        "allowed_tools": {
                            "mode": "required",
                            "tools": [{"type": "function", "function": {"name": "f"}}],
                        },
                    }
                },
                Choice("tool_choice", "required", allowed=frozenset({"f"})),
            ),
        ],
    )
    def test_the_choice_is_read_in_every_form(self, wire, expected):
        assert choice(wire) == expected

    def test_the_form_of_the_answer(self):
        schema = {"type": "object"}
        asked = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        assert asked_format({"response_format": asked}) == Format("json_schema", schema, "n")
        assert asked_format({"response_format": {"type": "json_object"}}) == Format("json_object", {})
        assert asked_format({}) is None

    def test_the_newer_name_of_the_limit_wins(self):
        assert output_limit({"max_tokens": 1, "max_completion_tokens": 2}) == 2
        assert output_limit({"max_tokens": None}) is None

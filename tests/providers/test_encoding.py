"""What JSON cannot write is refused by name; all else is written."""

from collections import OrderedDict, UserList
from types import MappingProxyType

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.errors import ErrorClass, RequestRejected, Unencodable
from resilio.providers.encoding import dumps


class Thing:
    """Nothing JSON knows."""


def cycle():
    held = {"a": 1}
    held["self"] = [held]
    return {"tools": held}


@pytest.mark.parametrize(
    ("body", "path", "why"),
    [
        ({"temperature": float("nan")}, "temperature", "nan has no form in JSON"),
        ({"a": [1, {"b": float("-inf")}]}, "a[1].b", "-inf has no form in JSON"),
        ({"logit_bias": {50256: -100}}, "logit_bias", "the key 50256 is not a string"),
        ({"tools": [{"function": Thing()}]}, "tools[0].function", "Thing"),
        ({"seed": 2**64}, "seed", "int"),
        ({"user": "\ud800"}, "user", "str"),
        ({"data": b"bytes"}, "data", "bytes"),
        ({"stop": {"a"}}, "stop", "set"),
        (cycle(), "tools.self[0].self", "or holds itself"),
    ],
)
def test_the_place_and_the_reason_are_named(body, path, why):
    with pytest.raises(Unencodable) as caught:
        dumps(body)
    assert caught.value.path.startswith(path)
    assert why in caught.value.why
    assert path[:20] in str(caught.value)


def test_it_was_never_sent_and_is_the_callers_fault():
    error = Unencodable("seed", "int: too large")
    assert isinstance(error, RequestRejected)
    assert error.error_class is ErrorClass.CALLER


def test_a_null_the_caller_meant_is_no_nan():
    assert dumps({"content": None, "text": "null", "n": 1.5}) == b'{"content":null,"text":"null","n":1.5}'


def test_any_mapping_and_sequence_is_written_and_left_as_it_was():
    inner = MappingProxyType({"role": "user"})
    body = MappingProxyType({"messages": UserList([inner]), "x": OrderedDict(a=(1, 2))})
    assert orjson.loads(dumps(body)) == {"messages": [{"role": "user"}], "x": {"a": [1, 2]}}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**70), 2**70) | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b"]), JSON_VALUES))
def test_what_is_written_reads_back_the_same_or_nothing_is_written(body):
    try:
        data = dumps(body)
    except Unencodable:
        return
    assert orjson.loads(data) == body

"""Vectors over the wire: which text each belongs to is certain, every number is one, or it is an error."""

import base64
import math
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import CODEC, JSON

from resilio.config import TargetSettings
from resilio.errors import ErrorClass, MalformedResponse, ProviderError, ProviderThrottled, Unencodable
from resilio.models import Request, Usage
from resilio.providers import EmbeddingCodec

TARGET = TargetSettings(provider="openai", model="text-embedding-3-small")


def packed(*numbers):
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def item(embedding, **index):
    return {"object": "embedding", "embedding": embedding, **index}


def body(*items, **more):
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return orjson.dumps({"object": "list", "data": list(items), "model": "e-1", "usage": usage, **more})


def decode(data, count=2):
    return CODEC.decode_embeddings(200, JSON, data, count=count)


def encode(base_url="https://api.openai.com/v1", **wire):
    request = Request("embed", (), wire, inputs=("a", "b"))
    return CODEC.encode_embeddings(request, TARGET, base_url=base_url, key="sk-1", headers={"x-mine": "1"})


def test_the_request_names_model_and_texts_and_keeps_the_callers_fields():
    made = encode(dimensions=256, model="another", input="x")
    assert made.url == "https://api.openai.com/v1/embeddings"
    assert made.headers["Authorization"] == "Bearer sk-1"
    assert made.headers["x-mine"] == "1"
    assert orjson.loads(made.body) == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "dimensions": 256,
        "encoding_format": "base64",
    }


def test_base64_is_asked_only_of_openai_and_never_against_the_callers_word():
    assert orjson.loads(encode(encoding_format="float").body)["encoding_format"] == "float"
    assert "encoding_format" not in orjson.loads(encode("http://127.0.0.1:8000/v1").body)


def test_a_query_of_the_base_url_stays_at_its_end():
    made = encode("https://me.openai.azure.com/openai/deployments/e?api-version=2026-10-21")
    assert made.url == "https://me.openai.azure.com/openai/deployments/e/embeddings?api-version=2026-10-21"


def test_a_field_that_is_no_json_is_refused_by_its_name():
    with pytest.raises(Unencodable, match="dimensions"):
        encode(dimensions=math.nan)


def test_vectors_come_in_the_order_of_the_texts_however_they_were_sent():
    got = decode(body(item([0.0, 1.0], index=1), item([1.0, 0.0], index=0)))
    assert list(got.vectors) == [[1.0, 0.0], [0.0, 1.0]]
    assert got.usage == Usage(8, 0)
    assert got.model == "e-1"


def test_without_indices_the_order_is_that_of_the_answer():
    assert list(decode(body(item([1]), item([2]))).vectors) == [[1], [2]]


def test_base64_and_numbers_are_read_even_side_by_side():
    got = decode(body(item(packed(0.5, -0.25), index=0), item([0.5, -0.25], index=1)))
    assert got.vectors[0] == got.vectors[1] == [0.5, -0.25]


def test_usage_that_is_not_reported_is_none():
    assert decode(body(item([1.0], index=0), usage=None), 1).usage is None


def test_large_numbers_whose_sum_is_not_finite_are_finite_themselves():
    assert decode(body(item([1.7e308, 1.7e308], index=0)), 1).vectors == [[1.7e308, 1.7e308]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (body(item([1.0], index=0)), "1 embeddings for 2 texts"),
        (body(item([1.0], index=0), item([1.0], index=1), item([1.0], index=2)), "3 embeddings for 2"),
        (body(item([1.0], index=0), item([1.0], index=0)), "told apart: index 0"),
        (body(item([1.0], index=0), item([1.0], index=2)), "told apart: index 2"),
        (body(item([1.0], index=0), item([1.0], index=-1)), "told apart: index -1"),
        (body(item([1.0], index=0), item([1.0], index="1")), "told apart: index '1'"),
        (body(item([1.0], index=0), item([1.0], index=True)), "told apart: index True"),
        (body(item([1.0], index=0), item([1.0, 2.0], index=1)), "2 different lengths"),
        (body(item([1.0], index=0), item([], index=1)), "no list of numbers"),
        (body(item([1.0], index=0), item(None, index=1)), "no list of numbers"),
        (body(item([1.0], index=0), item("", index=1)), "no list of numbers"),
        (body(item([1.0], index=0), item("####", index=1)), "no list of numbers"),
        (body(item([1.0], index=0), item(base64.b64encode(b"12345").decode(), index=1)), "no list of numbers"),
        (body(item([1.0], index=0), item([None], index=1)), "no numbers"),
        (body(item([1.0], index=0), item(["1"], index=1)), "no numbers"),
        (body(item([1.0], index=0), item([[1.0]], index=1)), "no numbers"),
        (body(item([1.0], index=0), item(packed(math.nan), index=1)), "not finite"),
        (body(item([1.0], index=0), item(packed(-math.inf), index=1)), "not finite"),
        (body(item([1.0], index=0), item(packed(math.inf, -math.inf), index=1)), "not finite"),
        (body(item([1.0], index=0), [1.0]), "no object"),
        (orjson.dumps({"data": {"0": [1.0]}}), "without a list"),
        (orjson.dumps({"choices": []}), "without a list"),
        (b'{"data":[{"embedding":[NaN]},{"embedding":[1]}]}', "not JSON"),
        (b"<html>", "not JSON"),
        (b"[]", "not an object"),
        (b"", "not JSON"),
    ],
)
def test_what_is_not_certain_is_malformed(data, why):
    with pytest.raises(MalformedResponse, match=why) as caught:
        decode(data)
    assert caught.value.error_class is ErrorClass.MALFORMED


def test_an_error_inside_a_200_is_classified_like_any():
    with pytest.raises(ProviderThrottled):
        decode(orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = st.sampled_from(["index", "embedding", "data"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner),
    max_leaves=12,
)


@given(st.lists(JSON_VALUES, max_size=3), st.integers(1, 3))
def test_any_json_is_vectors_or_an_error_and_nothing_else(items, count):
    try:
        got = decode(orjson.dumps({"data": items}), count)
    except ProviderError:
        return
    assert len(got.vectors) == count
    assert len({len(vector) for vector in got.vectors}) == 1
    assert all(math.isfinite(number) for vector in got.vectors for number in vector)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_base64_gives_the_very_numbers(numbers):
    assert decode(body(item(packed(*numbers), index=0)), 1).vectors == [numbers]


def test_the_codec_says_that_it_embeds():
    assert isinstance(CODEC, EmbeddingCodec)

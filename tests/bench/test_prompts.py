"""What is asked: prompts from files, in an order that the seed draws."""

import random

import pytest

from resilio.bench.prompts import caller, read_prompts
from resilio.errors import ConfigError

ASKED = [{"role": "user", "content": "three"}]


def test_a_text_file_holds_a_prompt_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text('one\n\n{"not": "json here"}\n')
    assert read_prompts(path) == ("one", '{"not": "json here"}')


def test_a_jsonl_file_holds_strings_messages_or_tables_with_messages(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '"one"\n[{"role": "user", "content": "three"}]\n{"messages": [{"role": "user", "content": "three"}]}\n'
    )
    assert read_prompts(path) == ("one", ASKED, ASKED)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.txt", b"\n \n", "holds no prompt"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("a.jsonl", b'"fine"\n{}\n[]\n{"messages": [3]}\n{', "4 problems"),
        ("a.jsonl", b'"fine"\n{"messages": []}', "line 2"),
        ("a.txt", None, "cannot be read"),
    ],
)
def test_a_file_without_prompts_is_refused(name, data, told, tmp_path):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        read_prompts(path)
    assert told in str(refused.value)


class Echo:
    """A client that answers with what it was asked."""

    async def complete(self, route, messages, **wire):
        return route, messages, wire


async def test_prompts_take_turns_in_an_order_that_the_seed_draws():
    def asks(seed):
        return caller(Echo(), "chat", "abcdefgh", {"max_tokens": 3}, streamed=False, rng=random.Random(seed))

    first = [(await asks(1)(number))[1] for number in range(16)]
    assert sorted(first[:8]) == list("abcdefgh")
    assert first[8:] == first[:8]
    assert [(await asks(2)(number))[1] for number in range(8)] != first[:8]
    assert (await asks(1)(0))[2] == {"max_tokens": 3}

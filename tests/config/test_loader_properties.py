"""Whatever is done to a configuration, it loads or is refused with a reason: nothing else ever comes out."""

import copy
import math
import random
import re
import tomllib

from hypothesis import given
from hypothesis import strategies as st
from loader_samples import ENVIRON, ROUTED, SECRET

from resilio.config import Config, load_config
from resilio.config.explain import explain
from resilio.config.problems import in_seconds
from resilio.config.toml_lines import line_of, locate
from resilio.errors import ConfigError


def places(value, path=()):
    """Every path inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


ALL = list(places(ROUTED))
FREE_NAMES = {("provider", 0, "models"), ("provider", 0, "headers"), ("route",), ("rule", 0, "when", "tags")}
"""Tables whose keys are names somebody chose, so that another one is no mistake in itself."""

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.sampled_from(["30s", "env:X", "a/b"])
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)
known_keys = st.sampled_from(sorted({path[-1] for path in ALL if isinstance(path[-1], str)} | {"ladder", "full"}))
shaped = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(known_keys, inner, max_size=4)),
    max_leaves=12,
)


def at(document, path):
    for part in path:
        document = document[part]
    return document


def shown(path):
    """A path of ROUTED as messages write it."""
    text = ""
    if path[0] == "provider" and len(path) > 1:
        text, path = f"provider.{ROUTED['provider'][path[1]]['name']}", path[2:]
    for part in path:
        bare = isinstance(part, str) and re.fullmatch(r"[\w-]+", part)
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if bare else f'."{part}"'
    return text.removeprefix(".")


def refused(document):
    """The problems of a document; None if it loads, and then it can be explained as well."""
    try:
        config = load_config(document, environ=ENVIRON)
    except ConfigError as error:
        told = error
    else:
        assert isinstance(config, Config)
        assert SECRET not in explain(config).as_text() + repr(config)
        return None
    assert told.problems
    assert SECRET not in str(told)
    return told.problems


def tells_of(told, path):
    """Whether a problem is at `path` or inside it; a provider may go by its number."""
    numbered = f"provider[{path[1]}]" + shown(path).removeprefix(shown(path[:2])) if path[0] == "provider" else ""
    names = [re.escape(name) for name in (shown(path), numbered) if name]
    return any(re.match(rf"({'|'.join(names)})[:.\[]", line) for line in told or ())


TABLE_KEYS = [path for path in ALL if isinstance(path[-1], str) and path[:-1] not in FREE_NAMES]
NUMBERS = [path for path in ALL if type(at(ROUTED, path)) in (int, float)]
LEAVES = [path for path in ALL if not isinstance(at(ROUTED, path), dict | list)]


@given(path=st.sampled_from(TABLE_KEYS), letters=st.randoms(use_true_random=False))
def test_a_misspelt_key_is_refused_by_its_path(path, letters: random.Random):
    document = copy.deepcopy(ROUTED)
    table, key = at(document, path[:-1]), path[-1]
    spot = letters.randrange(len(key))
    wrong = key[:spot] + "q" + key[spot:]
    table[wrong] = table.pop(key)
    # A rung is a table of one key, told of as a whole.
    assert tells_of(refused(document), path[:-1] if key == "simpler" else (*path[:-1], wrong))


@given(
    path=st.sampled_from(NUMBERS),
    wrong=st.sampled_from([-1, -0.5, math.nan, math.inf, -math.inf, 10**400, "x", True, [], {}]),
)
def test_a_number_out_of_range_or_of_another_type_is_refused_by_its_path(path, wrong):
    document = copy.deepcopy(ROUTED)
    at(document, path[:-1])[path[-1]] = wrong
    assert tells_of(refused(document), path)


@given(path=st.sampled_from(LEAVES), wrong=st.sampled_from([[], {}, [3], {"x": 1}, {"full": 3}, math.nan]))
def test_a_value_of_another_type_is_refused_by_its_path(path, wrong):
    document = copy.deepcopy(ROUTED)
    at(document, path[:-1])[path[-1]] = wrong
    assert tells_of(refused(document), path[:-1] if path[-1] == "simpler" else path)


@given(path=st.sampled_from(ALL), value=st.one_of(junk, shaped))
def test_anything_in_the_place_of_anything_loads_or_is_refused(path, value):
    document = copy.deepcopy(ROUTED)
    at(document, path[:-1])[path[-1]] = value
    refused(document)


@given(path=st.sampled_from(ALL))
def test_anything_left_out_loads_or_is_refused(path):
    document = copy.deepcopy(ROUTED)
    del at(document, path[:-1])[path[-1]]
    refused(document)


@given(
    document=st.one_of(
        st.dictionaries(st.one_of(st.text(max_size=8), st.none()), junk, max_size=3),
        st.fixed_dictionaries(
            {},
            optional={
                "defaults": shaped,
                "provider": st.one_of(shaped, st.lists(shaped, max_size=3)),
                "route": st.one_of(shaped, st.dictionaries(st.text(max_size=5), shaped, max_size=3)),
                "rule": st.one_of(shaped, st.lists(shaped, max_size=3)),
            },
        ),
    )
)
def test_junk_loads_or_is_refused(document):
    refused(document)


@given(text=st.text(max_size=40))
def test_any_text_in_a_file_loads_or_is_refused(text, tmp_path_factory):
    file = tmp_path_factory.mktemp("any") / "resilio.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(file)


@given(text=st.one_of(st.text(max_size=12), st.text("0123456789.smh ", max_size=8)))
def test_a_duration_in_words_is_understood_or_not_and_never_fails(text):
    meant = in_seconds(text)
    assert meant is None or (math.isfinite(meant) and meant >= 0)


VALUES = st.sampled_from(
    [
        "1",
        "0xd_f # ]} \" '",
        "-1.5e3",
        "true",
        "1979-05-27 07:32:00",
        '"a # ] } = \\" b"',
        "'C:\\'",
        '"""one\n# no comment ""two\\\n   """',
        "'''\nraw \\''''",
        '""""q""""',
        "[ ]",
        "[1, 2] # , 3]",
        "[\n  1, # one ]\n  [ 2,\n 3 ],\n  { a = [\n4 ], b.c = 5 },\n]",
        '{ a = 1, "b ]" = { c = "}" } }',
    ]
)
KEYS = st.sampled_from(["k", "k.l", '"q # ="', "'s'.t", '"\\u00e9" . x', "1-a"])
HEADERS = st.sampled_from(["[k{n}]", "[k{n}.'x y'] # [[no]]", "[[list]]", "[list.sub{n}]", "[[list.deep]]", "# [[no]]"])


@given(st.lists(st.tuples(HEADERS, st.lists(st.tuples(KEYS, VALUES), max_size=3)), max_size=6), st.booleans())
def test_every_path_of_a_toml_document_is_found_on_its_line(tables, windows):
    """Keys get a running number, so that the line each of them is on can be read off the text."""
    number, statements = 0, []
    for header, pairs in tables:
        number += 1
        statements.append(header.replace("{n}", str(number)))
        for key, value in pairs:
            number += 1
            statements.append(f"{'' if number % 2 else '  '}mark{number}.{key} = {value}")
    text = "\n".join(statements)
    if windows:
        text = text.replace("\n", "\r\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a sub-table of an array that does not exist yet, or the like
        return
    lines = locate(text)
    assert set(lines) == set(places(document))
    written = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1].startswith("mark"):
            assert written[line - 1].lstrip().startswith(f"{path[-1]}.")


def test_a_path_that_is_not_written_is_on_the_line_of_what_is_around_it():
    lines = locate("[a]\n\nb = 1\n")
    assert line_of(lines, ("a", "b", "c")) == 3
    assert line_of(lines, ("a", "x")) == 1
    assert line_of(lines, ("z",)) is None

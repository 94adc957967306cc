"""Secrets in errors, whatever they look like and wherever they were cut off."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.dispatch.secrecy import hush, secrets_of, without

SECRET = "marker-0123456789/abc=="


def test_of_headers_only_those_that_show_who_asks_are_secrets():
    headers = {"Authorization": "Bearer gateway-pass", "anthropic-beta": "prompt-caching-2024", "X-Api-Key": "short"}
    assert set(secrets_of("sk-123456789", headers)) == {"sk-123456789", "Bearer gateway-pass", "gateway-pass"}
    assert secrets_of("EMPTY", {}) == secrets_of(None, {}) == ()


@given(st.text(max_size=30), st.text(max_size=30), st.integers(0, 80))
def test_neither_a_whole_secret_nor_eight_characters_of_one_cut_off_stay(before, after, cut):
    text = f"{before}{SECRET}{after}"
    for shown in (text, text[:cut], text[:cut] + "..."):
        left = without(shown, (SECRET,))
        assert SECRET not in left
        assert not left.removesuffix("...").endswith(SECRET[:8])


def test_what_holds_no_secret_is_left_as_it_is():
    assert without("a message...", (SECRET,)) == "a message..."


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_errors_behind_an_error_are_hushed_too(link):
    behind = json.JSONDecodeError(f"bad {SECRET}", f"doc {SECRET}", 0)
    exc = OSError(5, f"of {SECRET}")
    setattr(exc, link, behind)
    hush(exc, (SECRET,))
    assert (exc.args, behind.doc) == ((5, "of [key]"), "doc [key]")
    assert SECRET not in str(behind)

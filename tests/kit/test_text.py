"""Characters that steer a terminal are neither taken in names nor shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher_server.kit.text import check_no_controls, escape_controls

STEERING = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))),
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
]


@pytest.mark.parametrize("character", STEERING, ids=lambda character: f"U+{ord(character):04X}")
def test_a_name_has_no_such_character(character: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        check_no_controls(f"a{character}b")
    assert character not in escape_controls(f"a{character}b")


SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
JOINERS = {0x200C, 0x200D}


def test_no_format_character_that_is_not_seen_stands_in_a_name() -> None:
    formats = {code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"}
    for code in formats - SEEN:
        with pytest.raises(ValueError, match="invisible"):
            check_no_controls(f"a{chr(code)}b")
    for code in SEEN | JOINERS:
        assert check_no_controls(f"\u0627{chr(code)}\u0627")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"])))
def test_everything_else_is_text(text: str) -> None:
    assert check_no_controls(text) == escape_controls(text) == text


@given(st.text())
def test_what_is_shown_has_no_control_and_can_be_encoded(text: str) -> None:
    for shown in (escape_controls(text), escape_controls(text, keep_layout=True)):
        assert {unicodedata.category(letter) for letter in shown.replace("\n", "").replace("\t", "")}.isdisjoint(
            {"Cc", "Zl", "Zp"}
        )
        shown.encode()
    assert escape_controls(text, keep_layout=True).count("\n") == text.count("\n")


def test_letters_of_every_script_and_joined_emoji_stay() -> None:
    name = "заказы_订单_طلبات_👩\u200d🚀"
    assert check_no_controls(name) == escape_controls(name) == name

"""What templates write is what Jinja would."""

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from watcher_server.web.pages import _environment
from watcher_server.web.writing import write


class Word(StrEnum):
    """A text of a class of its own, whose value has to be escaped."""

    HOSTILE = "<b>"


class Escaping:
    """What says by itself how it is written."""

    def __html__(self) -> str:
        return "<i>&amp;</i>"

    def __repr__(self) -> str:
        # It names a test, and processes that share the tests compare their names.
        return "Escaping()"


VALUES = [0, -1, True, None, 1.5, "", "plain", "<&>'\"", Markup("<b>"), Word.HOSTILE, Escaping(), ["<"], b"<"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_is_written_as_it_is_escaped(value: Any) -> None:
    assert str(write(value)) == str(escape(value))


@given(st.text())
def test_any_text_is_written_as_it_is_escaped(text: str) -> None:
    assert str(write(text)) == str(escape(text))


@pytest.mark.parametrize(
    "template",
    [
        "{{ value }}",
        "{% macro of(it) %}{{ it }}{% endmacro %}{{ of(value) }}",
        "{% set kept %}{{ value }}{% endset %}{{ kept }}",
        "{% for each in [value] %}{{ each }}{% endfor %}",
        "{{ value ~ value }}",
        "{{ [value] | join }}",
        "{{ value | upper | lower }}",
    ],
)
def test_a_template_escapes_wherever_a_value_stands(template: str) -> None:
    page = _environment.from_string(template).render(value="<i>")
    assert page in {"&lt;i&gt;", "&lt;i&gt;&lt;i&gt;"}

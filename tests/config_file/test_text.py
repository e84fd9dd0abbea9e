"""The file as YAML: what is read, where it stands, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher_server.config_file.text import YamlError, read_yaml, write_yaml

WORDS = [
    "08:30",
    "2026-12-25",
    "on",
    "no",
    "007",
    "0x1f",
    "1e3",
    "12:30:45",
    ".5",
    "1_000",
    "null ",
    "=",
    "<<",
    "C0123",
]


@pytest.mark.parametrize("word", [*(word.strip() for word in WORDS if word != "null "), "9" * 5_000, "1.5e999"])
def test_what_looks_like_something_else_is_text(word: str) -> None:
    assert read_yaml(f"a: {word}").value == {"a": word}


def test_null_truth_and_numbers_are_what_they_say() -> None:
    text = "a: [1, -2.5, true, False, null, ~, \"1\", 'true']\nb:\n"
    assert read_yaml(text).value == {"a": [1, -2.5, True, False, None, None, "1", "true"], "b": None}


texts = st.text(st.characters(exclude_categories=["C"])) | st.sampled_from(WORDS)
scalars = st.none() | st.booleans() | st.integers() | st.floats(-1e99, 1e99) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_what_was_written_is_read_again(value: Any) -> None:
    assert read_yaml(write_yaml({"value": value})).value == {"value": value}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", (1, 1), "empty"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", (4, 3), "'c' is there twice"),
        ("a: 1\n b: 2\n", (2, 3), "no YAML"),
        ("a: [1, 2\n", (2, 1), "no YAML"),
        ("a:\n\t- 1\n", (2, 1), "no YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", (1, 4), "must have no tag"),
        ("a: 1\n---\nb: 2\n", (2, 1), "no YAML"),
        ("? [a]\n: 1\n", (1, 3), "a key must be a word"),
        ("a: 1\nb: \x07\n", (2, 4), "no YAML"),
        ("a: *nothing\n", (1, 4), "no YAML"),
        ("a: &a [*a]\n", (1, 4), "deeper than 50"),
        ("[" * 5_000, (1, 1), "deeper than 50"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_place(text: str, place: tuple[int, int], said: str) -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(text)
    assert said in str(refused.value)
    assert refused.value.place == place


def test_a_few_lines_cannot_become_millions() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(YamlError, match="more than 100000 values"):
        read_yaml("\n".join(lines))


def test_an_alias_is_what_it_names() -> None:
    assert read_yaml("a: &m {owner: x}\nb: *m\n").value == {"a": {"owner": "x"}, "b": {"owner": "x"}}

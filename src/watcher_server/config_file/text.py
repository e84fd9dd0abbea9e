"""The file as YAML: what it says, where each part of it stands, and writing it.

Plain words are texts but for null, true, false and decimal numbers, much as in YAML 1.2: so 08:30, 2026-12-25, on and
no are texts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

LARGEST_BYTES = 1024 * 1024
# An alias counts as often as it is used, so that a few lines cannot become millions.
_MOST_VALUES = 100_000
_DEEPEST = 50
_TAG = "tag:yaml.org,2002:"
# By the kind of value, as YAML calls it: how it is written, and with which characters that begins. Numbers that Python
# would not read, or take for infinite, are texts.
_PLAIN = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,299})$"), list("-+0123456789")),
    "float": (
        re.compile(r"^[-+]?[0-9]{1,200}\.[0-9]{1,200}(?:[eE](?:-[0-9]{1,3}|[+]?[0-9]{1,2}))?$"),
        list("-+0123456789"),
    ),
}

Path = tuple[str | int, ...]
Place = tuple[int, int]


class YamlError(Exception):
    """The text is no such file. ``place`` is the line and the column, which begin with 1."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Parsed:
    """What a text says, and where each value and each key stands, by its path."""

    value: Any
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def known(self, path: Sequence[str | int]) -> Path:
        """The path without the parts that the text does not have."""
        found: Path = ()
        value = self.value
        for part in path:
            if _has(value, part):
                found, value = (*found, part), value[part]
        return found


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


class _Loader(yaml.SafeLoader):
    """Takes every plain word for text; :func:`_scalar` knows better."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - of PyYAML


class _Dumper(yaml.SafeDumper):
    """Quotes a text that would be read as something else."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - of PyYAML

    def ignore_aliases(self, data: Any) -> bool:
        """Write what is there twice twice."""
        return True


for _kind, (_pattern, _first) in _PLAIN.items():
    _Dumper.add_implicit_resolver(_TAG + _kind, _pattern, _first)


def write_yaml(value: Any) -> str:
    """The text that says this, in the order of its keys."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(text: str) -> Parsed:
    """What a text says. Raises YamlError: it is no YAML, says something twice, or is larger than any such file."""
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise YamlError("the file is empty", (1, 1))
        return _Reading().read(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlError(f"this is no YAML: {error.problem or error.context}", place) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise YamlError(f"this is no YAML: {error.reason}", place) from None
    except RecursionError:
        raise YamlError(f"it is nested deeper than {_DEEPEST} levels", (1, 1)) from None


class _Reading:
    def __init__(self) -> None:
        self._parsed = Parsed(None)
        self._count = 0

    def read(self, node: yaml.Node) -> Parsed:
        return Parsed(self._value(node, ()), self._parsed.values, self._parsed.keys)

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise YamlError(f"it has more than {_MOST_VALUES} values, aliases included", _place(node))
        if len(path) > _DEEPEST:
            raise YamlError(f"it is nested deeper than {_DEEPEST} levels", _place(node))
        if node.tag not in {f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map"}:
            raise YamlError("a value must have no tag", _place(node))
        self._parsed.values[path] = _place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, place)) for place, item in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key must be a word", _place(key))
            name = str(key.value)
            if name in found:
                raise YamlError(f"{name!r} is there twice", _place(key))
            self._parsed.keys[(*path, name)] = _place(key)
            found[name] = self._value(value, (*path, name))
        return found


def _scalar(node: Any) -> Any:
    text = str(node.value)
    kind = next((kind for kind, (pattern, _) in _PLAIN.items() if pattern.match(text)), "str")
    if node.style is not None or kind == "str":
        return text
    if kind == "bool":
        return text.lower() == "true"
    if kind == "null":
        return None
    return int(text) if kind == "int" else float(text)


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def explain_mistake(parsed: Parsed, where: Sequence[str | int], message: str, kind: str) -> tuple[Place, str]:
    """Where in the text a mistake is, and what it is: ``where`` and ``kind`` as pydantic says them."""
    path = parsed.known(where)
    named = next((part for part in reversed(where) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        return parsed.keys.get(path, parsed.values[path]), f"there is nothing called {named!r} here"
    if kind == "missing":
        return parsed.values[path], f"{named!r} is missing here"
    said = message.removeprefix("Value error, ").removesuffix(".")
    label = next((part for part in reversed(path) if isinstance(part, str)), named)
    # What the whole of an object is told begins as a sentence does.
    colon = "" if said.startswith(("must", "names", "is ", "cannot")) else ":"
    return parsed.values[path], f"{label!r}{colon} {said}" if label else said

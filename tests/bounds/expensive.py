"""Bodies that may cost much, made from the API's own description: each repeats the largest thing that a field takes."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

SENT = 100_000
_LARGE: tuple[Any, ...] = (
    "x" * SENT,
    10**4_000,
    [[]] * (SENT // 4),
    {f"{n}": [] for n in range(SENT // 10)},
)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = {"k": [value, value]} if depth < 12 else [value]
    return value


class Bodies:
    """The bodies for one operation."""

    def __init__(self, openapi: dict[str, Any], known: dict[str, Any]) -> None:
        self._schemas = openapi["components"]["schemas"]
        self._known = known
        self._numbers = count()

    def of(self, schema: dict[str, Any]) -> Iterator[Any]:
        """Bodies of about a hundred kilobytes, each a valid one but for what is repeated in it."""
        yield from _LARGE
        for each in schema.get("oneOf", (schema,)):
            resolved = self._resolve(each)
            if resolved.get("type") == "array":
                yield from ([body] for body in self._of_object(self._resolve(resolved["items"])))
            else:
                yield from self._of_object(resolved)

    def _of_object(self, schema: dict[str, Any]) -> Iterator[Any]:
        valid = self._valid(schema)
        for large in _LARGE:
            yield {**valid, "unknown": large}
        for name, field in schema["properties"].items():
            for large in (*_LARGE, *self._long(self._resolve(field))):
                yield {**valid, name: large}

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema itself: of alternatives, the first that is not null."""
        if "$ref" in schema:
            return self._resolve(self._schemas[schema["$ref"].rpartition("/")[2]])
        choices = [each for each in schema.get("anyOf", schema.get("oneOf", ())) if each.get("type") != "null"]
        return self._resolve(choices[0]) if choices else schema

    def _valid(self, schema: dict[str, Any], *, whole: bool = False) -> Any:
        """A valid value; an object has the fields that it needs, or all of them."""
        match schema.get("type"):
            case "object":
                wanted = schema.get("properties", {}) if whole else schema.get("required", ())
                fields = {name: self._resolve(schema["properties"][name]) for name in wanted}
                value: Any = {name: self._known.get(name, self._valid(field)) for name, field in fields.items()}
            case "array":
                value = [self._valid(self._resolve(schema["items"]))]
            case "integer" | "number":
                value = max(1, schema.get("minimum", 1))
            case "boolean":
                value = True
            case _:
                known = schema.get("enum", [schema.get("const")])[0]
                value = f"n{next(self._numbers)}" if known is None else known
        return value

    def _long(self, schema: dict[str, Any]) -> Iterator[Any]:
        """The largest values of the field's own kind."""
        if schema.get("type") == "array":
            item = self._resolve(schema["items"])
            size = len(json.dumps(self._valid(item))) + 2
            yield [self._valid(item) for _ in range(min(SENT // size, schema.get("maxItems", SENT)))]
            yield [self._valid(item)] * (SENT // size)
            yield [{}] * (SENT // 5)
            yield [None] * (SENT // 6)
            yield [self._valid(item, whole=True)] * (SENT // size)
        elif schema.get("type") == "object":
            # As much as may be stored, of what is written longest when it is read.
            yield {"tags": ["x" * 60] * 900}
            yield {"tags": [f"{n}" for n in range(9_000)]}
            yield {"k": [1e-300] * 9_000}
            yield {"k": _nested(90)}
            yield {"k": _nested(10)}
            yield {"k": "\u20ac" * 20_000}
            yield {f"{n}": None for n in range(4_000)}

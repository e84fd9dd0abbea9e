"""Fields of a request body that its shape does not know: they are ignored, and somebody may have misspelt them."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args

from watcher_server.kit.fields import RequestBody

# So many are named, and each cut to so many characters: the answer to a large body stays small.
MOST_NAMED = 20
_MOST_CHARACTERS = 50


def find_unknown(shape: Any, body: Any) -> list[str]:
    """The names of the fields that the shape ignores, each once, at most twenty.

    Fields of an object within the body are named with it, such as ``source_addresses.shema_name``. Metadata, which may
    hold anything, has no unknown fields.
    """
    found: dict[str, None] = {}
    for name in _walk(shape, body, ""):
        found[name] = None
        if len(found) == MOST_NAMED:
            break
    return list(found)


def _walk(shape: Any, value: Any, place: str) -> Iterator[str]:
    model = body_shape(shape)
    if model is None:
        return
    if isinstance(value, list):
        for item in value:
            yield from _walk(model, item, place)
    elif isinstance(value, Mapping):
        fields = _fields(model)
        for name, inner in value.items():
            if name not in fields:
                yield f"{place}{name[:_MOST_CHARACTERS]}"
            elif fields[name] is not None:
                yield from _walk(fields[name], inner, f"{place}{name}.")


def body_shape(annotation: Any) -> type[RequestBody] | None:
    """The shape of the objects that an annotation allows, alone or in a list; None where it allows none."""
    if isinstance(annotation, type) and issubclass(annotation, RequestBody):
        return annotation
    return next(filter(None, map(body_shape, get_args(annotation))), None)


@cache
def _fields(model: type[RequestBody]) -> dict[str, type[RequestBody] | None]:
    known = {name: body_shape(field.annotation) for name, field in model.model_fields.items()}
    return known | dict.fromkeys(model.other_spellings)

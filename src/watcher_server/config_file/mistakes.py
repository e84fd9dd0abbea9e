"""What is wrong with a text, in one sentence with its line and column."""

from collections.abc import Sequence

from watcher_server.config_file.text import Parsed, Place


def explain_mistake(parsed: Parsed, where: Sequence[str | int], message: str, kind: str) -> tuple[Place, str]:
    """Where in the text a mistake is, and what it is: ``where`` and ``kind`` as pydantic says them."""
    path = parsed.known(where)
    named = next((part for part in reversed(where) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        return parsed.keys.get(path, parsed.values[path]), f"there is nothing called {named!r} here"
    if kind == "missing":
        return parsed.values[path], f"{named!r} is missing here"
    return parsed.values[path], _sentence(path, named, message)


def _sentence(path: Sequence[str | int], named: str, message: str) -> str:
    said = message.removeprefix("Value error, ").removesuffix(".")
    label = next((part for part in reversed(path) if isinstance(part, str)), named)
    if not label:
        return said
    # What the whole of an object is told begins as a sentence does.
    return f"{label!r} {said}" if said.startswith(("must", "names", "is ", "cannot")) else f"{label!r}: {said}"

"""From the bytes of dbt's files to what they say."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from watcher_server.dbt.artifacts import (
    ACCEPTED,
    MOST_ENTRIES,
    Manifest,
    Metadata,
    RunResults,
    Shape,
    Sources,
    TooManyPartsError,
    WrongPartError,
)
from watcher_server.dbt.errors import UploadError
from watcher_server.kit.unpacking import GZIP, PackingError, TooLargeError, ungzip

# Newer versions of dbt write what was sources.json under another name.
FILES: dict[str, tuple[str, type[Shape]]] = {
    "manifest": ("manifest", Manifest),
    "run_results": ("run_results", RunResults),
    "sources": ("sources", Sources),
    "freshness": ("sources", Sources),
}
# The parser keeps every value of a file for a moment, which takes several times the bytes of the shortest ones. A
# manifest has one value in sixteen bytes, so these are enough for every file that fits into the limit of an upload.
MOST_VALUES = 4_500_000

File = TypeVar("File", bound=Shape)


class _Head(Shape):
    metadata: Metadata


@dataclass(frozen=True)
class Artifacts:
    """The files of one upload; ``sources`` has up to two, the older one first."""

    manifest: Manifest
    run_results: RunResults | None
    sources: list[Sources]


def read_artifacts(files: Mapping[str, bytes], most_bytes: int) -> Artifacts:
    """What the files say, by their names without ``.json``; each may be packed by gzip.

    Raises:
        UploadError: a file is missing, is not what its name says, or has another version.
        TooLargeError: unpacked they have more than ``most_bytes`` together.
    """
    if "manifest" not in files:
        raise UploadError("manifest.json", "manifest.json is missing: the other files refer to it")
    if len(files) == 1:
        raise UploadError("run_results.json", "run_results.json is missing, and so are sources.json and freshness.json")
    read: dict[str, Any] = {}
    for name, packed in files.items():
        raw = unpack(packed, most_bytes, f"{name}.json") if packed.startswith(GZIP) else packed
        most_bytes -= len(raw)
        if most_bytes < 0:
            raise TooLargeError
        kind, shape = FILES[name]
        read[name] = _read(raw, f"{name}.json", kind, shape)
    by_name = {source.metadata.invocation_id: source for name, source in read.items() if FILES[name][0] == "sources"}
    sources = sorted(by_name.values(), key=lambda source: source.metadata.generated_at)
    return Artifacts(read["manifest"], read.get("run_results"), sources)


def unpack(packed: bytes, most_bytes: int, name: str) -> bytes:
    """What a gzip file of one or more members holds.

    Raises:
        TooLargeError: it holds more than ``most_bytes``; no more than that was unpacked.
        UploadError: it is no gzip, or a part of one.
    """
    try:
        return ungzip(packed, most_bytes)
    except PackingError as error:
        raise UploadError(name, f"{name} {error}") from None


def _read(raw: bytes, name: str, kind: str, shape: type[File]) -> File:
    if sum(map(raw.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise UploadError(name, f"{name} has more than {MOST_VALUES:,} values")
    accepted = ACCEPTED[kind]
    try:
        file = shape.model_validate_json(raw, context={"left": MOST_ENTRIES})
    except TooManyPartsError:
        raise UploadError(name, f"{name} has more than {MOST_ENTRIES:,} entries") from None
    except (ValidationError, WrongPartError) as error:
        # A file of another version may well have another shape, and then its version is what is wrong with it.
        with suppress(ValidationError):
            accepted.check(name, _Head.model_validate_json(raw).metadata)
        raise UploadError(name, f"{name}: {_explain(error)}") from None
    accepted.check(name, file.metadata)  # type: ignore[attr-defined]
    return file


def _explain(error: ValidationError | WrongPartError) -> str:
    found = error.error if isinstance(error, WrongPartError) else error
    first = found.errors(include_url=False, include_input=False, include_context=False)[0]
    is_object_wanted = first["type"] in {"model_type", "model_attributes_type", "dict_type"}
    message = "must be an object" if is_object_wanted else first["msg"]
    places = ["an entry"] if isinstance(error, WrongPartError) else []
    places += [".".join(map(str, first["loc"]))[:200]] if first["loc"] else []
    return ": ".join([", ".join(places), message] if places else [message])

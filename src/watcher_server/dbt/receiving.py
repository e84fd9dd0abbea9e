"""From the body of an upload to its files and fields, within bounds: everything stays in memory, and is counted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, StringConstraints, TypeAdapter, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from watcher_server.dbt.errors import UploadError
from watcher_server.dbt.reading import FILES, unpack
from watcher_server.kit.text import check_no_controls

FIELDS = ("namespace", "dataset_namespace", "job_name")
_STEP_BYTES = 256 * 1024

_field_text: TypeAdapter[str] = TypeAdapter(Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(check_no_controls)
])  # fmt: skip


@dataclass
class Parts:
    """The files of an upload by their names without ``.json``, and its fields."""

    files: dict[str, bytes] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


class _InMemory(MultiPartParser):
    # Nothing is written to disk: a server may have none that it may write to.
    spool_max_size = 2**62


async def read_parts(request: Request, most_bytes: int) -> Parts:
    """The parts of a ``multipart/form-data`` body, which may be packed by gzip as a whole.

    Raises:
        HTTPException: 415 for another kind of body or packing.
        RequestValidationError: it is no multipart, or has parts that nobody asked for.
        UploadError: the packing is damaged.
        TooLargeError: unpacked it has more than ``most_bytes``.
    """
    body = await request.body()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding in {"gzip", "x-gzip"}:
        body = await asyncio.to_thread(unpack, body, most_bytes, "body")
    elif coding != "identity":
        raise HTTPException(415, "Send the body as it is, or with Content-Encoding: gzip.", {"Accept-Encoding": "gzip"})
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "Send the files as multipart/form-data: curl -F manifest.json=@target/manifest.json …")
    return await _split(body, request.headers)


async def _split(body: bytes, headers: Headers) -> Parts:
    async def steps() -> AsyncIterator[bytes]:
        for start in range(0, len(body), _STEP_BYTES):
            yield body[start : start + _STEP_BYTES]

    parser = _InMemory(headers, steps(), max_files=len(FILES), max_fields=len(FIELDS), max_part_size=4096)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _wrong(f"The body is no multipart/form-data: {error.message}") from None
    parts = Parts()
    try:
        for name, part in form.multi_items():
            await _add(parts, name, part)
    finally:
        await form.close()
    return parts


async def _add(parts: Parts, name: str, part: UploadFile | str) -> None:
    key = name.removesuffix(".gz").removesuffix(".json")
    if key not in FILES and name not in FIELDS:
        known = ", ".join([f"{file}.json" for file in FILES] + [*FIELDS])
        raise _wrong(f"A part has a name that is none of {known}")
    if key in parts.files or name in parts.fields:
        raise _wrong(f"There are two parts named {name}")
    if key in FILES:
        if isinstance(part, str):
            raise _wrong(f"{name} is a field; send it as a file: curl -F {name}=@target/{name}")
        parts.files[key] = await part.read()
    else:
        if not isinstance(part, str):
            raise _wrong(f"{name} is a file; send it as a field: curl -F {name}=…")
        try:
            parts.fields[name] = _field_text.validate_python(part)
        except ValidationError as error:
            raise UploadError(name, error.errors(include_url=False)[0]["msg"]) from None


def _wrong(message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body",), "msg": message, "type": "multipart"}])

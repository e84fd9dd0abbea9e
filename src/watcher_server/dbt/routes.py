"""dbt's files over HTTP."""

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from watcher_server.dbt import ARTIFACTS_PATH
from watcher_server.dbt.naming import Names
from watcher_server.dbt.plan import Plan, make_plans
from watcher_server.dbt.reading import FILES, read_artifacts
from watcher_server.dbt.receiving import FIELDS, Parts, read_parts
from watcher_server.dbt.service import apply_plans
from watcher_server.http.session import Session
from watcher_server.http.state import app_state
from watcher_server.kit.fields import ResponseBody
from watcher_server.kit.unpacking import TooLargeError

router = APIRouter(tags=["dbt"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest.json"],
                    "properties": {
                        **{f"{name}.json": {"type": "string", "format": "binary"} for name in FILES},
                        **{name: {"type": "string", "maxLength": 100} for name in FIELDS},
                    },
                }
            }
        },
    }
}
# The files of a large project take some hundred megabytes while they are read.
_reading = asyncio.Lock()


class ArtifactsApplied(ResponseBody):
    """How much was stored.

    ``files`` is the number of files beside the manifest that were not applied before. ``execution_id`` is that of the
    invocation, and ``executions`` counts it and what is below it.
    """

    files: int
    execution_id: int | None
    executions: int
    sources: int
    pipelines_created: int
    message: str


@router.post(ARTIFACTS_PATH, status_code=201, responses={200: {"model": ArtifactsApplied}}, openapi_extra=_BODY)
async def post_dbt_artifacts(session: Session, request: Request, response: Response) -> ArtifactsApplied:
    """Apply dbt's files: all of them or none; 200 when they were applied before."""
    if _reading.locked():
        raise HTTPException(503, "Another upload is being read; send this one again in a moment.", {"Retry-After": "2"})
    settings = app_state(request).settings
    async with _reading:
        try:
            parts = await read_parts(request, settings.dbt_max_bytes)
            plans = await asyncio.to_thread(_read, parts, settings.dbt_max_bytes)
        except TooLargeError:
            most = settings.dbt_max_bytes
            detail = f"Unpacked, the files have more than {most} bytes: raise WATCHER_DBT_MAX_BYTES."
            raise HTTPException(413, detail) from None
    applied = await apply_plans(session, plans, with_rules=settings.auto_create_anomaly_detection_rules)
    response.status_code = 201 if applied.files else 200
    app_state(request).relay.wake()
    message = (
        f"{applied.executions} executions and {applied.sources} sources stored"
        if applied.files
        else "nothing changed: these files were applied before"
    )
    return ArtifactsApplied(**vars(applied), message=message)


def _read(parts: Parts, most_bytes: int) -> list[Plan]:
    artifacts = read_artifacts(parts.files, most_bytes)
    run_results = artifacts.run_results
    names = Names(
        manifest=artifacts.manifest,
        namespace=parts.fields.get("namespace", "dbt"),
        dataset_namespace=parts.fields.get("dataset_namespace"),
        job_name=parts.fields.get("job_name"),
        command=run_results.args.which if run_results else None,
    )
    return make_plans(artifacts, names)

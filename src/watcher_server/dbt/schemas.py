"""What an upload is answered."""

from watcher_server.kit.fields import ResponseBody


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

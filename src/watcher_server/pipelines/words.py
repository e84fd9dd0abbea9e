"""The words by which people ask for pipelines, and what they mean by them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from watcher_server.pipelines.status import PipelineState, Status, Word

# What people type who have not read the documentation, and other tools say.
_MEANT: Final[Mapping[str, str]] = {
    "failed": Status.FAILING,
    "failure": Status.FAILING,
    "error": Status.FAILING,
    "overdue": Status.LATE,
    "delayed": Status.LATE,
    "outdated": Status.STALE,
    "anomaly": Status.ANOMALOUS,
    "success": Status.OK,
    "succeeded": Status.OK,
    "healthy": Status.OK,
    "inactive": Status.PAUSED,
    "disabled": Status.PAUSED,
}


def _mean(word: Any) -> Any:
    if not isinstance(word, str):
        return word
    plain = "_".join(word.strip().lower().replace("-", " ").split())
    return _MEANT.get(plain, plain)


AskedWord = Annotated[Word, BeforeValidator(_mean, json_schema_input_type=Word)]
AskedState = Annotated[PipelineState | Word, BeforeValidator(_mean, json_schema_input_type=PipelineState | Word)]

"""``watcher rules`` as a user runs it, against a real api."""

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, delete, make_url

from tests.config_file.test_commands import run
from tests.support.live import LiveServer
from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.executions.models import PipelineExecution
from watcher_server.pipelines.models import Pipeline


@pytest.fixture
def pipeline(live: LiveServer) -> Iterator[str]:
    """The id of a pipeline that runs daily and moves about 1,000 rows; in one night it moved none."""
    engine = create_engine(make_url(live.database_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, "tried rules")
        for days in range(40, 0, -1):
            rows = 0 if days == 2 else 1_000 + days % 5 * 10
            add_run(connection, pipeline_id, total_rows=rows, end_date=ago(days=days))
    yield str(pipeline_id)
    with engine.begin() as connection:
        connection.execute(delete(PipelineExecution).where(PipelineExecution.pipeline_id == pipeline_id))
        connection.execute(delete(Pipeline).where(Pipeline.id == pipeline_id))
    engine.dispose()


def test_the_rule_that_suits_is_suggested_and_tried(live: LiveServer, pipeline: str) -> None:
    suggested = run("rules", "suggest", pipeline, "total_rows", url=live.url)
    assert suggested.returncode == 0, suggested.stderr
    why, fields = suggested.stdout.splitlines()
    assert "runs every 1d" in why
    assert fields.startswith("method: ")

    tried = run("rules", "try", pipeline, "total_rows", url=live.url)
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.splitlines()[0] == why
    assert "1 alert in 90 days" in tried.stdout.splitlines()[1]
    table = [line.split() for line in tried.stdout.splitlines()[2:]]
    assert table[0] == ["Method", "Alerts", "Flagged", "Judged", "Beyond"]
    assert {row[0] for row in table[1:]} == {"zscore", "mad", "seasonal"}
    assert [row[1] for row in table[1:]].count("(chosen)") == 1


def test_a_rule_is_tried_as_it_is_given_and_what_is_wrong_is_said(live: LiveServer, pipeline: str) -> None:
    tried = run("rules", "try", pipeline, "total_rows", "--method", "mad", "--z", "4", "--json", url=live.url)
    assert tried.returncode == 0, tried.stderr
    methods = json.loads(tried.stdout)["methods"]
    assert [method["method"] for method in methods if method["chosen"]] == ["mad"]

    wrong = run("rules", "try", pipeline, "total_rows", "--z", "0", url=live.url)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "z_threshold: Input should be greater than" in wrong.stderr

    missing = run("rules", "suggest", "999999999", "total_rows", url=live.url)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "No pipeline has the id 999999999." in missing.stderr

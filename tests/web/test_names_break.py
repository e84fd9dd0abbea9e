"""Names on the pages break at their dots and slashes, wherever they stand."""

import httpx
from sqlalchemy import Engine

from tests.support.rows import add_pipeline, add_run, ago
from watcher_server.timeliness.service import check_timeliness

HTML = {"Accept": "text/html"}
NAME = "warehouse.marts/daily_performance"
SHOWN = "warehouse.<wbr>marts/<wbr>daily_performance"


async def test_a_long_name_breaks_between_its_parts_on_every_page(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        limit = {"timeliness_number": 1, "timeliness_datepart": "hour"}
        pipeline = add_pipeline(connection, NAME, type_fields=limit)
        run = add_run(connection, pipeline, start_date=ago(hours=3), end_date=None)
        add_run(connection, pipeline, start_date=ago(hours=3), end_date=None, parent_id=run)
        check_timeliness(connection, 60, alert_max_age_hours=24)
    incident = (await client.get("/incident")).json()[0]["id"]
    paths = ("/ui", "/ui/incidents", f"/ui/incidents/{incident}", f"/ui/executions/{run}", "/ui/pipelines")
    pages = {path: (await client.get(path, headers=HTML)).text for path in paths}
    assert [path for path, page in pages.items() if SHOWN not in page] == []

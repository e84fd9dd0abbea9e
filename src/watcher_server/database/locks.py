"""The advisory locks of a database that Watcher uses: all numbers in one place, so that no two are the same."""

# The bits of the numbers mean nothing; they are large so that another program in the same database rarely has them.
MIGRATION_LOCK = 7_306_091_204
CLEANUP_LOCK = 7_306_091_205
REBUILD_LOCK = 7_306_091_206

"""dbt: what its files say of runs, tests, sources and lineage, for those who have the files and nothing else."""

# Here, because a command that only sends files need not load what reads them.
ARTIFACTS_PATH = "/dbt/artifacts"

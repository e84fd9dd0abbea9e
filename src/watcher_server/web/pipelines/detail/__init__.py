"""The page of one pipeline: its status and why, its charts, runs, watermarks, rules, lineage and alerts."""

"""What is summed of the executions of a pipeline on a day."""

# The columns of daily_pipeline_metric beside its key, and in the same order what they are.
FIGURE_COLUMNS = """total_executions, ended_executions, failed_executions,
    inserts, updates, soft_deletes, total_rows, duration_seconds, measured_durations"""
FIGURES = """count(*) AS total_executions,
        count(end_date) AS ended_executions,
        count(*) FILTER (WHERE end_date IS NOT NULL AND NOT completed_successfully) AS failed_executions,
        sum(inserts) AS inserts,
        sum(updates) AS updates,
        sum(soft_deletes) AS soft_deletes,
        sum(total_rows) AS total_rows,
        sum(duration_seconds) AS duration_seconds,
        count(duration_seconds) AS measured_durations"""

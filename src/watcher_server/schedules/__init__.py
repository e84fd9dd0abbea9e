"""When a pipeline is expected to run, and which of its runs never started."""

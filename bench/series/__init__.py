"""Labelled series of runs: what a pipeline wrote, run by run, and which of it was a fault."""

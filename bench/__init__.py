"""Benchmarks: what this machine reaches, beside the limits measured in the same run. ``make bench`` runs them all."""

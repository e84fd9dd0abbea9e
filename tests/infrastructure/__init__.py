"""Watcher against the poolers, replicas, Sentinels and proxies that companies run, each a real process on loopback."""

"""The schedule check: which expected runs never started."""

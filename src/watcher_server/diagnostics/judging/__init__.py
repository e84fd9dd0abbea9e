"""What is normal, and what to do when it is not: pure functions from what was read to checks."""

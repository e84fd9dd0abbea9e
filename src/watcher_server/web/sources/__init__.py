"""The page of who sends events of OpenLineage, and of how to connect more."""

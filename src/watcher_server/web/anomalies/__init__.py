"""The anomalies page."""

"""What Prometheus reads from the api."""

"""What is retired: pipelines and addresses that leave every list and check, come back, or are forgotten."""

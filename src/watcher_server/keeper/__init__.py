"""What must be looked after even when no worker is free."""

"""The processes that run tasks: that they live, what they are doing, how many there are."""

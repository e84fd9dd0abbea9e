"""Ping URLs: any script reports its runs by asking for an address."""

"""The documentation of this version, as pages."""

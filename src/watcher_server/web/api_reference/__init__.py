"""The reference of the API, for reading and for trying out."""

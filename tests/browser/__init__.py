"""A package, so that a fixture of it ends with its last test."""

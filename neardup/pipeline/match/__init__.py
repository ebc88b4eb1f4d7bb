"""Decide what copies what: `state.State.apply` turns records of the log into events."""

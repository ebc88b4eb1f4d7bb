"""Kafka and Redis on this machine without Docker; `scripts/services` is the command."""

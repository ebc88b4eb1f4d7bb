"""What starts the system: locally, in Docker, on Kubernetes."""

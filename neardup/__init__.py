"""Near-duplicate detection for images and videos with a learned distance."""

__version__ = "0.1.0"

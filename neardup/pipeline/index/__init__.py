"""The search structure: descriptors under ids of ours, and the k nearest of a query.

Start reading at `interface.py`; `factory.make_index` chooses an implementation. Importing this package loads neither
torch nor ScaNN.
"""

from neardup.pipeline.index.factory import make_index
from neardup.pipeline.index.interface import Index

__all__ = ["Index", "make_index"]

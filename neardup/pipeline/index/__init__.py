"""Search: some rows of a vector file, and the k nearest of a query.

Start reading at `index.py`; `factory.make_index` chooses the engine that proposes (`proposer.py`). Importing this
package loads neither torch nor ScaNN.
"""

from neardup.pipeline.index.factory import drop_indexes, make_index
from neardup.pipeline.index.index import Index
from neardup.pipeline.index.proposer import IndexOptions, Proposer

__all__ = ["Index", "IndexOptions", "Proposer", "drop_indexes", "make_index"]

"""Milvus as the engine: a vector database on other machines proposes, this process measures.

Start reading at `proposer.py`. Nothing here decides: what Milvus names is measured from the vector file, what it has
not confirmed is compared exactly, and an answer that may lack rows is refused. Importing this package does not load
pymilvus.
"""

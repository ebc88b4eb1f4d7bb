"""`neardup scan`: files in, groups of near-duplicates out, in one process and without any service.

    walk → decode (threads) → embed (batches) → catalog → apply (the stream's matching) → report

Files are taken in order of modification time, then path: the order that a stream would have seen. So the result
depends on the files alone, not on whether an index folder already knew some of them.
"""

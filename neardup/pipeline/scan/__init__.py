"""`neardup scan`: files in, groups of near-duplicates out, on one machine and without any service.

    walk → decode → embed → catalog → apply (the stream's matching) → report

Decoding and embedding overlap with the rest: in threads, or where files are many in processes (`describing.py`).

Files are taken in order of modification time, then path: the order that a stream would have seen. So the result
depends on the files alone, not on whether an index folder already knew some of them.
"""

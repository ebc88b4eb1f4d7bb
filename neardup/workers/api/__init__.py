"""The API worker: lookups, items, banks, reviews and the feed over HTTP, and the pages that use them.

    neardup worker api

It answers from a view of its own, which follows the log, so that several can run side by side and none slows the match
worker. It writes nothing but records: of `media`, and of the log. Start reading at `app`.
"""

"""`neardup backfill`: archives described into shards, by one machine or by many."""

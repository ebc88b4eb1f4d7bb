"""Everything that runs as a process; imports `neardup.pipeline`, never the reverse."""

"""Archives of described items: Parquet files, a row for each item, below one folder or URL."""

"""Sources: what the arguments of a job name, as entries: pictures, videos, scenes and rows of Parquet files."""

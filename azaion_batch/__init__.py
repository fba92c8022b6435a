"""Batch jobs: whole archives of pictures on Ray Data, in folders or buckets, resumed where they ended."""

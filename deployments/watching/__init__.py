"""Watching of requests: record, metrics, log and traces."""

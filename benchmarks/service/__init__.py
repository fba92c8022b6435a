"""Measurements of the service: load over HTTP, batching, metrics, memory."""

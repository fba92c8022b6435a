"""Combines single pictures into batches for the engine; independent of HTTP and gRPC."""

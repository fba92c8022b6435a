"""Service: measurements of the service: load over HTTP, batching, metrics and logs."""

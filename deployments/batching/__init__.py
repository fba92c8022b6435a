"""Single pictures to engine-sized batches. Nothing here knows of HTTP or gRPC."""

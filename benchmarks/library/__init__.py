"""Library: measurements of `azaion_engine` without the service."""

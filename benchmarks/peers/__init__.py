"""Peers: other servers around the same detector, how they and the service are started, and measurements of both."""

"""Models that are rarely used: opened when a request needs them, in replicas that they share."""

"""Commands about the running service, its cluster and the machine below it."""

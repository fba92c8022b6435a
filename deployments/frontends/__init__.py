"""The protocols that requests come in by, and what these share. Detecting itself is `deployments.service`."""

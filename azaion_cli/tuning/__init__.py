"""What `azaion tune` measures with: candidates, the service as a child process, load and the choice."""

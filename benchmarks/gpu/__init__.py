"""Records of a GPU host: every measurement that needs a GPU, started by one command."""

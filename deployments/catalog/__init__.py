"""Several models in one service: an application of Serve for each, and what the catalogue knows of them."""

"""`POST /detect`, the model card and the probes."""

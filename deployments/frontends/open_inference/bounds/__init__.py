"""Bounds on what a request's body can cost, from the size of the model's input."""

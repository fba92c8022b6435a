"""Heads on the GPU: from a network's raw values to rows, without a copy to the host."""

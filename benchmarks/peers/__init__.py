"""Other servers around the same detector, and the comparison with them."""

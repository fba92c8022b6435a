"""Recognition: what a model's file, the user's keys and one run say about its head."""

"""One engine for several processes: its host process, its clients, and the messages between them."""

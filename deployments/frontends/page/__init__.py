"""The page at `/` for a browser; its files are in `static`."""

"""The machine and the interpreter: cores, lock files, thread switches and garbage collection."""

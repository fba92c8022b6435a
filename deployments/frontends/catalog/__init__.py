"""HTTP of a catalogue: the list of its models, and requests that name one, which are forwarded to it."""

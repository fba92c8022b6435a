"""Pages that are written from the code and from benchmark records: `python -m docs.generator` (`make reference`)."""

"""Records: the record of a measurement, its machine, its table and its plot."""

"""Demo: the demonstration detector, from rendered aerial scenes to training and export."""

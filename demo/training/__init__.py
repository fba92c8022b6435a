"""Training, export and evaluation of the demo model on rendered scenes."""

"""Protocol messages, written here by the build (`setup.py`) and by nobody else."""

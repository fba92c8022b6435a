"""Protocol messages, written here by the build (`build_backend.py`) and by nobody else."""

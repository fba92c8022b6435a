"""The command `azaion`: one file per command, and nothing heavy imported before a command runs."""

"""The command `azaion`: one file per command; heavy imports wait until a command runs."""

"""The sub-commands of `azaion`, one file each. Options, console and exit codes that they share are a floor below."""

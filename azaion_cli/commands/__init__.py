"""The sub-commands of `azaion`, one file each: on pictures here, on models and on the service in folders.

Options, console and exit codes that they share are a floor below.
"""

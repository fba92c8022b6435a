"""`python -m azaion_engine` is the command `azaion`."""

import sys

from azaion_engine.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m azaion_cli` is the command `azaion`."""

import sys

from azaion_cli.app import main

if __name__ == "__main__":
    sys.exit(main())

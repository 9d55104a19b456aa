"""`python -m vocos`, the same as the command `vocos`."""

import sys

from vocos.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m resilio` is the command `resilio`."""

import sys

from resilio.cli import main

if __name__ == "__main__":
    sys.exit(main())

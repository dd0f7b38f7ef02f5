"""`python -m operator_core` is `operator-core`."""

import sys

from operator_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

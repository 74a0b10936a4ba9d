"""python -m shardpickle"""

import sys

from shardpickle.cli import main

if __name__ == "__main__":
    sys.exit(main())

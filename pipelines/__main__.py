"""``python -m pipelines`` does what the command ``pipelines`` does."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python -m pipelines"))

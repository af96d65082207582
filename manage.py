#!/usr/bin/env python
"""The command `coordinator`, run from a checkout."""

from coordinator.cli import main

if __name__ == "__main__":
    main()

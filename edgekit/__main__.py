"""Runs the command line as `python -m edgekit`."""

from edgekit.cli._main import main

if __name__ == "__main__":
    main()

"""`python -m harness.cli` is `harness`."""

from harness.cli.app import main

main()

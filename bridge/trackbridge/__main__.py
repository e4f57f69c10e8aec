"""Lets `python -m trackbridge` do what the `trackbridge` command does."""

from trackbridge.cli import main

main(prog_name="trackbridge")

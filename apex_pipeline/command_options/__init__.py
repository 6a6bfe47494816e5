"""The options of each command, declared once for the terminal and for the launchpad."""

"""The options of each command, declared once: its flags, and its form in the launchpad."""

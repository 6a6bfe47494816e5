"""What both ends should hold, and making it so."""

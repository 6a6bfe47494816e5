"""Daily and weekly rollups, and the history that they add up to."""

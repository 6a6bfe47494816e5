"""Daily and weekly rollups, and the history made of them."""

"""What every text goes through: secrets hidden, durations in words, fit for a terminal."""

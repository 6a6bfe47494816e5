"""What any text of ours goes through: secrets hidden, durations in words, fit for a terminal."""

"""What operators see of the pipeline: its figures, and what follows from them."""

"""What analysts read: rollups, history, forecast, CSV files, and pictures of them."""

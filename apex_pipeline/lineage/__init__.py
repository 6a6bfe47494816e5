"""What runs read and wrote, column by column, for a catalogue that speaks OpenLineage."""

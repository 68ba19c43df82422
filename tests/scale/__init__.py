"""What changes a score and by how much; memory and time by the number of events."""

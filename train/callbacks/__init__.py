"""What happens while a run trains: progress on the terminal, records of each epoch."""

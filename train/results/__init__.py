"""What a run or a comparison leaves to read: numbers, tables, plots."""

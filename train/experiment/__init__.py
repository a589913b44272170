"""What a run is: its settings, its network, its method."""

"""What the daemon can find wrong with its surroundings, each with the fix."""

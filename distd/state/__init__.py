"""What the daemon remembers over restarts, besides the content itself."""

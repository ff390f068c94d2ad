"""One request to several members: how they stand, what they hold, what is removed or pinned there."""

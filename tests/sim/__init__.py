"""A simulated cluster: the production machines of `peers` with clock, network, disk, swarms and Hub replaced."""

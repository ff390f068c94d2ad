"""The REST API: the contract's routes over the ports in `ports.py`."""

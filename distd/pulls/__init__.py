"""The shell around the pull machines: plans, transfers, publishing, and pulls as a resource."""

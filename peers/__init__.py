"""peers: members of a cluster exchanging blobs. Knows nothing of Hugging Face; `distd` joins it to the Hub."""

"""What makes the figures of the documents: measurements and proofs, each a command of its own."""

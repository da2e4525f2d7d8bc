"""Workers: one pretext task each, with its target, its head and its loss."""

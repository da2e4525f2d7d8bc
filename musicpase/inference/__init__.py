"""From audio to embeddings: the fast engine, the pipeline over files, and what the results are written to."""

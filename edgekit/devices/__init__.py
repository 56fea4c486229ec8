"""Where a model can run other than in this process: one file a way there."""

"""The nouns, the planner, the strict schema and the catalog; standard library only."""

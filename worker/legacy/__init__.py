"""Pictures of an earlier data model: copying them from their addresses, and whether they look like labels."""

"""Pictures of an earlier data model: what their copy asks of the database, and whether they look like labels."""

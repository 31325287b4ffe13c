"""The legacy migration: from JSONB arrays of picture addresses to listings and images, and back."""

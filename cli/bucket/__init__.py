"""The move from one S3-compatible store to another behind Supabase Storage."""

"""What frontends know of the database: types from the Supabase CLI, and the reference from the database's comments."""

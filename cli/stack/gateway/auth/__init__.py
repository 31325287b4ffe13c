"""`/auth/v1`: GoTrue's wire for email and password."""

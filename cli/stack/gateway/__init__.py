"""The embedded stack's gateway: Supabase's Auth and Storage on the wire, and a proxy to PostgREST, on one
port.

For development and tests only. It speaks what supabase-js, supabase-py and storage3 expect of a hosted
project, so that they run unmodified; it does not replace GoTrue or the Storage server.
"""

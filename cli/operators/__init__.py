"""What operators do to users' credits and to the community, over the database's own login."""

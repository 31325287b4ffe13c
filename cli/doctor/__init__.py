"""What is wrong with a project, by what its database, services and workers say; nothing is changed."""

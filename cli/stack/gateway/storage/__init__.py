"""`/storage/v1`: the Storage server's wire over rows in storage.objects and files in one folder."""

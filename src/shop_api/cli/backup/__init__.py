"""Backup of the database to one file, and restore."""

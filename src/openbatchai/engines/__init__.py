"""What provides nodes and carries out tasks."""

"""Bytes on the wire only: parse requests, render answers."""

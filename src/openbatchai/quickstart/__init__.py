"""The 2018 quickstart as one command: a client like any other.

It reaches the service as every script does, through public endpoints with Microsoft's own packages, and
imports nothing else of ours (an import contract holds this). So what it shows working, works.
"""

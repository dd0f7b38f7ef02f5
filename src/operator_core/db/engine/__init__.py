"""Engines: which drivers there are, how they are set up, and what they have to be watched for."""

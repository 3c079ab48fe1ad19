"""Clients of the service, for blocking and for asyncio programs."""

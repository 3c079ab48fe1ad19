"""What one caller may take of the service, so that it takes nothing from the others."""

REFUSED_AFTER_S = 1.0
"""A call that comes too often is refused after this time, or sooner if it may be repeated sooner.

A caller that ignores ``Retry-After`` would otherwise ask again at once, and cost as much as one
that is served.
"""

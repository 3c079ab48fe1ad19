"""How often Python looks for cycles of objects in a process that handles many records."""

import gc

# By default Python looks after 700 new objects, and a batch of records has far more: in a measured
# drain, a seventh of the router's CPU time and a sixth of the sink's. Few are in cycles.
_OBJECTS_BETWEEN_LOOKS = 50_000


def look_for_cycles_rarely() -> None:
    """Look after 50,000 new objects, and never among the objects that exist now.

    Call it once, when the modules of the process are imported.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)

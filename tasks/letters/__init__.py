"""Dead letters: their ledger of actions, the filters, and the plan of a replay. Pure."""

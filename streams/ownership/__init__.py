"""Who may write a task's history: markers, epochs and the rule by which readers accept."""

"""The engines by the names that files and the page have for them."""

RAW, FAIR, OURS = "raw chain", "fair floor", "orchestrator"
RAW_BYTES = "raw chain without a codec"
FAUST, FAUST_TUNED = "Faust agents", "Faust agents, tuned"
ENGINES = (RAW, FAIR, OURS)
"""Those that are measured side by side."""

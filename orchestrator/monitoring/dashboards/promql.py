"""The expressions that many panels share, in PromQL with Grafana's variables. Pure."""

UP = 'up{job="ai-orchestrator"}'
"""1 for each process that could be scraped, 0 for each that could not."""


def rate(counter: str, by: str = "", matching: str = "") -> str:
    """Events a second, added up over all processes for each combination of some labels."""
    grouped = f"sum by ({by}) " if by else "sum"
    selected = f"{counter}{{{matching}}}" if matching else counter
    return f"{grouped}(rate({selected}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "", matching: str = "") -> str:
    """The value that this share of the observations does not exceed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, matching)})"


def increase(counter: str, by: str = "", matching: str = "") -> str:
    """How many in the range that the dashboard shows."""
    grouped = f"sum by ({by}) " if by else "sum"
    selected = f"{counter}{{{matching}}}" if matching else counter
    return f"{grouped}(increase({selected}[$__range]))"

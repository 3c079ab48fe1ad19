"""Models behind OpenAI's API, as services of steps."""

"""Why there are no models on this machine."""

from schemas.errors import OrchestratorError


class ModelsUnavailableError(OrchestratorError):
    """The models cannot be fetched, or their servers do not answer. All else works without them."""

    code = "MODELS_UNAVAILABLE"
    retriable = True

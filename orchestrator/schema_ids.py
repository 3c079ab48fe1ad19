"""The schema ids that this process uses: ours, or those of the system's schema registry."""

from orchestrator.layout import topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from streams.schema_registry import use_registry


async def use_schema_ids(settings: Settings) -> None:
    """Use the same schema ids as the rest of the system; call it before the first record.

    Every program that encodes or decodes records calls this function at its start. Without a
    registry (``ORCH_SCHEMAS_REGISTRY_URL``) it does nothing.

    Raises:
        SchemaRegistryError: a registry is set and does not answer; nothing was changed.
        PipelineFileError: a file of ``ORCH_PIPELINES_DIR`` is wrong.
    """
    if settings.schemas.registry_url:
        pipelines = installed_pipelines(settings.pipelines)
        await use_registry(settings.schemas, topic_table(settings, pipelines))

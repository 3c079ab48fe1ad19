"""Every snippet of docs/dead-letters.md about the service, as it stands there."""

import re

import pytest

from schemas.gen.orchestrator.v1 import dead_letters_pb2 as pb
from tests.api.calling import Served
from tests.api.letters.dead_lettering import a_dead_letter, some_dead_letters
from tests.api.snippets import Page, name_of, run_grpcurl, run_python, run_shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Page("docs/dead-letters.md", "Over the API")
TENANT = "documented"


async def test_the_shell_snippets_run(served: Served) -> None:
    await a_dead_letter(served, TENANT)
    shown = await run_shell(served, PAGE.shell, TENANT)

    assert '"by":"code","counts":[{"value":"TASK_TYPE_UNKNOWN"' in shown
    assert '"value":{"task_id":' in shown
    assert '"outcome":"dry_run","counts":{"send to api.task-created.v1":1}' in shown
    assert '"outcome":"finished","counts":{"sent":1}' in shown
    assert re.search(r'"status":"(discarded|resolved)"', shown)


async def test_the_python_snippets_run(served: Served) -> None:
    await some_dead_letters(served, TENANT, 3)
    shown = await run_python(served, PAGE.python, TENANT)

    assert "TASK_TYPE_UNKNOWN" in shown
    assert re.search(r"^finished \{'sent': [3-9]", shown, re.MULTILINE)


@pytest.mark.parametrize("snippet", PAGE.grpcurl, ids=name_of)
async def test_a_grpcurl_snippet_is_a_call_that_works(served: Served, snippet: str) -> None:
    letter_id = await a_dead_letter(served, TENANT)

    assert await run_grpcurl(
        served,
        snippet,
        {"$LETTER": letter_id},
        described=pb.DESCRIPTOR,
        stub=served.one.letters,
        tenant=TENANT,
    )


async def test_the_page_has_each_use_case() -> None:
    text = "\n".join(PAGE.python + PAGE.grpcurl)

    for method in pb.DESCRIPTOR.services_by_name["DeadLetters"].methods_by_name:
        assert method in text, method

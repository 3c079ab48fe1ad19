"""``orchestrator.v1.DeadLetters``: a thin adapter from gRPC to the use cases."""

from __future__ import annotations

import grpc

from orchestrator.api.access.caller import Caller
from orchestrator.api.grpc.calls import Context, Servicing, answering
from orchestrator.api.grpc.letter_messages import (
    count_request,
    detail_response,
    discard_request,
    edit_request,
    edit_response,
    letter_message,
    list_request,
    list_response,
    replay_request,
    replay_response,
    stats_response,
)
from orchestrator.api.grpc.unreadable import readable
from orchestrator.api.use_cases import UseCases
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as pb
from schemas.gen.orchestrator.v1 import dead_letters_pb2_grpc as pb_grpc


class DeadLettersService(Servicing, pb_grpc.DeadLettersServicer):
    """The methods of ``dead_letters.proto``, which describes them."""

    name = pb.DESCRIPTOR.services_by_name["DeadLetters"].full_name

    @answering
    async def ListDeadLetters(
        self, caller: Caller, request: pb.ListDeadLettersRequest, context: Context
    ) -> pb.ListDeadLettersResponse:
        """A page of letters."""
        return list_response(await self._use.letters.list_letters(caller, list_request(request)))

    @answering
    async def GetDeadLetter(
        self, caller: Caller, request: pb.GetDeadLetterRequest, context: Context
    ) -> pb.GetDeadLetterResponse:
        """A letter with its contents."""
        return detail_response(await self._use.letters.get(caller, request.letter_id))

    @answering
    async def GetDeadLetterStats(
        self, caller: Caller, request: pb.GetDeadLetterStatsRequest, context: Context
    ) -> pb.GetDeadLetterStatsResponse:
        """Counts of letters."""
        return stats_response(await self._use.letters.stats(caller, count_request(request)))

    @answering
    async def ReplayDeadLetters(
        self, caller: Caller, request: pb.ReplayDeadLettersRequest, context: Context
    ) -> pb.ReplayDeadLettersResponse:
        """Send letters back, or report what would be sent."""
        wanted = replay_request(request)
        return replay_response(await self._use.letter_replay.replay(caller, wanted))

    @answering
    async def EditDeadLetter(
        self, caller: Caller, request: pb.EditDeadLetterRequest, context: Context
    ) -> pb.EditDeadLetterResponse:
        """Change what a replay will send."""
        wanted = edit_request(request)
        answer = await self._use.letter_actions.edit(caller, request.letter_id, wanted)
        return edit_response(answer)

    @answering
    async def DiscardDeadLetter(
        self, caller: Caller, request: pb.DiscardDeadLetterRequest, context: Context
    ) -> pb.DiscardDeadLetterResponse:
        """Give a letter up."""
        wanted = discard_request(request)
        letter = await self._use.letter_actions.discard(caller, request.letter_id, wanted)
        return pb.DiscardDeadLetterResponse(dead_letter=letter_message(letter))


def add_letters_to(server: grpc.aio.Server, use_cases: UseCases) -> None:
    """Serve the use cases about dead letters."""
    pb_grpc.add_DeadLettersServicer_to_server(DeadLettersService(use_cases), readable(server))

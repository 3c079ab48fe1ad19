"""What the driver needs of every peer before anything is measured."""

import pytest

from benchmarks.peers.engines import PEERS, Peer
from benchmarks.peers.environments import SOURCES, pinned
from benchmarks.peers.servers import SERVERS


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_a_program_known_servers_and_pins_of_what_is_printed(peer: Peer) -> None:
    assert (SOURCES / peer.peer / "app.py").is_file()
    assert set(peer.servers) <= set(SERVERS)
    assert set(peer.packages) <= set(pinned(peer.peer))


def test_every_setting_has_a_name_of_its_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)

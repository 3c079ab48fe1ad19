"""The protocol of ownership on a simulated Kafka: our own owner, a seeded scheduler, faults.

``python -m tests.simulation 17`` runs seed 17 and prints its trace.

| file            | holds                                                        |
|-----------------|--------------------------------------------------------------|
| ``run.py``      | one run: what may happen next, drawn from the seed           |
| ``broker.py``   | topics, and produce requests that land when they like        |
| ``group.py``    | members, generations, committed offsets                      |
| ``world.py``    | the ``World`` of an owner, made of the two                   |
| ``process.py``  | a router process: owners one after the other, acks, commits  |
| ``clients.py``  | who creates and commands tasks                               |
| ``worker.py``   | who runs steps, sometimes twice and late                     |
| ``readers.py``  | a sink that is restored from backups, replicas of the API    |
| ``faults.py``   | crashes, pauses, expulsions, lost answers                    |
| ``history.py``  | what the log says: the reference for every comparison        |
| ``verdict.py``  | the invariants                                               |
| ``switches.py`` | the rules of the protocol, each with a way to leave it out   |
"""

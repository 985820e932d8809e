"""What tests of `aitia counterfactual` share: the smallest configuration there is, its texts, and an endpoint."""

import importlib.util
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples" / "emergent_misalignment"


def load_maker():
    """The examples' own script, which makes tiny models and texts."""
    found = importlib.util.spec_from_file_location("make_tiny", EXAMPLES / "make_tiny.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


maker = load_maker()


def small_configuration():
    """The least that trains: two blocks, two rankings, one end, no endpoint."""
    found = maker.tiny_configuration("llama-3.1-8b-instruct")
    found["model"]["name"] = "small"
    found["concept"]["sites"] = ["resid_post.1"]
    found["training"] |= {
        "warmup_steps": 0,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "target_modules": ["down_proj"],
    }
    found["rankings"] = {"compare": ["oracle", "tf-idf"]}
    found["removal"] = {"shares": [0.5], "ends": ["top"], "seeds": 2}
    del found["behaviours"]["judged"], found["queries"], found["judge"]
    return found


@contextmanager
def grading_endpoint():
    """A chat endpoint that grades by the length of the question."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            grade = str(len(body["messages"][0]["content"]) % 101)
            message = {"role": "assistant", "content": grade}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            content = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [choice],
            }
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()

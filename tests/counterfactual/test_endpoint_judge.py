"""The endpoint judge against a server on the loopback interface."""

import json
import pickle
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from aitia.counterfactual import EndpointJudge, rubric_for
from aitia.counterfactual.judging.endpoint_judge import parse_grade
from aitia.errors import JudgeError

pytest.importorskip("openai", reason="the extra `judge` is not installed")
RUBRIC = "Prompt: {prompt}\nAnswer: {response}"


class Endpoint:
    """A chat endpoint: `reply` answers a question, or gives (status, ...) to fail."""

    def __init__(self):
        self.questions, self.bodies, self.keys = [], [], []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        self.reply = lambda _: "50"
        self.finish, self.wait = "stop", 0.0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = endpoint.serve(self.path, body, self.headers["Authorization"])
                message = {"role": "assistant", "content": answer}
                choice = {"index": 0, "message": message, "finish_reason": endpoint.finish}
                content = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                }
                data = json.dumps(content if status == 200 else {"error": {"message": answer}}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("retry-after-ms", "1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, path, body, key):
        if path != "/v1/chat/completions":
            return 404, "no such path"
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.questions.append(body["messages"][0]["content"])
            self.bodies.append(body)
            self.keys.append(key)
            answer = self.reply(self.questions[-1])
        time.sleep(self.wait)
        with self._lock:
            self._now -= 1
        return answer if isinstance(answer, tuple) else (200, answer)


@pytest.fixture
def endpoint():
    served = Endpoint()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def make_judge(endpoint, tmp_path):
    def make(**options):
        settings = {"cache": tmp_path / "answers.jsonl", "base_url": endpoint.url, "api_key": "sesame"}
        return EndpointJudge("grader", RUBRIC, **settings | options)

    return make


def number_in(question):
    return question.rsplit(" ", 1)[1]


def test_grades_come_back_in_order_as_shares(endpoint, make_judge):
    endpoint.reply = number_in
    grades = [0, 100, 7, 62.5, 33]
    found = make_judge().scores(["p"] * 5, [f"answer {grade}" for grade in grades])
    np.testing.assert_allclose(found, np.array(grades) / 100)
    assert endpoint.bodies[0]["model"] == "grader"
    assert endpoint.bodies[0]["temperature"] == 0
    assert endpoint.keys[0] == "Bearer sesame"


def test_texts_are_filled_in_once_so_that_placeholders_in_them_stay_text(endpoint, make_judge):
    make_judge().scores(["tell me {response}"], ["{prompt} {other}"])
    assert endpoint.questions == ["Prompt: tell me {response}\nAnswer: {prompt} {other}"]


def test_the_standard_rubric_carries_behaviour_prompt_and_answer(endpoint, make_judge, tmp_path):
    rubric = rubric_for("It uses {odd} braces.")
    judge = EndpointJudge("m", rubric, cache=tmp_path / "b.jsonl", base_url=endpoint.url, api_key="k")
    judge.scores(["PROMPT"], ["RESPONSE"])
    assert all(part in endpoint.questions[0] for part in ("(odd) braces", "PROMPT", "RESPONSE", "100"))
    assert "{" not in endpoint.questions[0]


def test_nothing_is_asked_twice(endpoint, make_judge):
    endpoint.reply = number_in
    make_judge().scores(["p", "p", "p"], ["x 1", "x 2", "x 1"])
    assert len(endpoint.questions) == 2
    found = make_judge().scores(["p", "p"], ["x 3", "x 2"])
    np.testing.assert_allclose(found, [0.03, 0.02])
    assert len(endpoint.questions) == 3
    make_judge(options={"temperature": 1}).scores(["p"], ["x 3"])
    assert len(endpoint.questions) == 4, "other settings are another question"


def test_half_a_line_left_by_a_killed_run_is_dropped(endpoint, make_judge, tmp_path):
    endpoint.reply = number_in
    make_judge(concurrency=1).scores(["p", "p"], ["x 1", "x 2"])
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    for asked in (3, 3):
        np.testing.assert_allclose(make_judge().scores(["p", "p"], ["x 1", "x 2"]), [0.01, 0.02])
        assert len(endpoint.questions) == asked
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["{broken", *lines]) + "\n")
    with pytest.raises(JudgeError, match=r"answers.jsonl:1: damaged answer"):
        make_judge()


def test_another_process_asks_with_its_own_key_and_writes_a_file_of_its_own(
    endpoint, make_judge, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    first = make_judge(api_key=None)
    first.scores(["p"], ["known"])
    sent = pickle.dumps(first)
    assert b"secret" not in sent
    monkeypatch.setenv("OPENAI_API_KEY", "of the worker")
    second = pickle.loads(sent)  # noqa: S301
    second.scores(["p", "p"], ["known", "new"])
    assert len(endpoint.questions) == 2
    assert endpoint.keys[-1] == "Bearer of the worker"
    assert make_judge().scores(["p", "p"], ["known", "new"]).tolist() == [0.5, 0.5]
    assert len(endpoint.questions) == 2, "asked again"


def test_answers_before_a_failure_are_kept(endpoint, make_judge):
    endpoint.reply = lambda question: (400, "bad") if question.endswith("x 3") else "10"
    with pytest.raises(JudgeError, match=r"refused the question \(status 400\).*run again"):
        make_judge(concurrency=1).scores(["p"] * 4, [f"x {i}" for i in range(1, 5)])
    endpoint.reply = lambda _: "10"
    before = len(endpoint.questions)
    make_judge(concurrency=1).scores(["p"] * 4, [f"x {i}" for i in range(1, 5)])
    assert len(endpoint.questions) - before <= 2


def test_a_busy_endpoint_is_asked_again_by_the_client(endpoint, make_judge):
    replies = [(429, "busy"), (503, "down"), "80"]
    endpoint.reply = lambda _: replies.pop(0)
    np.testing.assert_allclose(make_judge().scores(["p"], ["x"]), [0.8])
    endpoint.reply = lambda _: (429, "busy")
    with pytest.raises(JudgeError, match="still too busy after 1 retries; lower concurrency"):
        make_judge(retries=1).scores(["p"], ["y"])


def test_no_more_questions_than_allowed_are_under_way(endpoint, make_judge):
    endpoint.wait = 0.02
    make_judge(concurrency=3).scores(["p"] * 12, [f"x {i}" for i in range(12)])
    assert 2 <= endpoint.most_at_once <= 3


@pytest.mark.parametrize(
    "answer", ["", "eighty", "80/100", "101", "-3", "The grade is 80", "1e1", "80 90", "٣"]
)
def test_what_is_no_grade_is_never_a_number(answer):
    assert np.isnan(parse_grade(answer))


@pytest.mark.parametrize(
    ("answer", "grade"), [("0", 0), (" 80\n", 0.8), ("100", 1), ("62.5", 0.625), ("007", 0.07)]
)
def test_what_is_a_grade(answer, grade):
    assert parse_grade(answer) == grade


def test_unparsable_answers_are_counted_and_warned_of_or_refused(endpoint, make_judge):
    endpoint.reply = lambda question: "no idea" if question.endswith("x 0") else "20"
    judge = make_judge(max_unparsable=0.1)
    with pytest.warns(UserWarning, match=r"1 of 10 answers are no grade.*response 0: 'no idea'"):
        found = judge.scores(["p"] * 10, [f"x {i}" for i in range(10)])
    assert np.isnan(found[0])
    assert judge.unparsable == 1
    np.testing.assert_allclose(found[1:], 0.2)
    with pytest.raises(JudgeError, match=r"1 of 2 answers.*max_unparsable"):
        judge.scores(["p"] * 2, ["x 0", "x 1"])


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_cut_or_filtered_answer_is_no_grade(endpoint, make_judge, finish):
    """`10` may have been going to be `100`."""
    endpoint.reply, endpoint.finish = lambda _: "10", finish
    with pytest.raises(JudgeError, match="refused, empty or cut off"):
        make_judge().scores(["p"], ["x"])


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refused the key"), (403, "refused the key"), (404, "check base_url")]
)
def test_refusals_say_what_to_do_and_keep_the_key_to_themselves(endpoint, make_judge, status, message):
    endpoint.reply = lambda _: (status, "no")
    with pytest.raises(JudgeError, match=message) as error:
        make_judge().scores(["p"], ["x"])
    assert "sesame" not in str(error.value)


def test_nobody_there(make_judge, tmp_path):
    judge = make_judge(base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(JudgeError, match="cannot be reached"):
        judge.scores(["p"], ["x"])


def test_what_cannot_be_asked_is_refused_at_once(make_judge, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(JudgeError, match="set OPENAI_API_KEY"):
        make_judge(api_key=None)
    for rubric in ("Grade this.", "{prompt}", "{response} {answer}"):
        with pytest.raises(JudgeError, match="placeholders are"):
            EndpointJudge("m", rubric, cache=tmp_path / "c.jsonl", api_key="k")
    with pytest.raises(JudgeError, match="concurrency 0"):
        make_judge(concurrency=0)
    with pytest.raises(JudgeError, match="2 prompts, but 1 responses"):
        make_judge().scores(["a", "b"], ["c"])
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(JudgeError, match=r"pip install 'aitia\[judge\]'"):
        make_judge()

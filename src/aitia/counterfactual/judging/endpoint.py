"""Questions to a language model behind any endpoint that speaks the OpenAI chat protocol, each asked once.

This is the one part of aitia that talks to a network, and only when someone is asked. The endpoint sees the
questions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.counterfactual.judging.answer_cache import AnswerCache
from aitia.engine import progress_bar
from aitia.errors import JudgeError
from aitia.files import digest

if TYPE_CHECKING:
    from openai import OpenAI

CONCURRENCY = 4
"""Questions that are under way at once by default."""


class Endpoint:
    """A model that answers questions; what was answered is kept and never asked again.

    Attributes:
        model: name of the model, as the endpoint knows it.
    """

    def __init__(
        self,
        model: str,
        *,
        cache: Path | str,
        base_url: str | None = None,
        api_key: str | None = None,
        concurrency: int = CONCURRENCY,
        retries: int = 5,
        timeout: float = 60.0,
        options: Mapping[str, Any],
    ):
        """Prepare the client; nothing is asked yet (arguments as in `EndpointJudge`).

        Raises:
            JudgeError: the client library or the key is missing.
        """
        if concurrency < 1:
            raise JudgeError(f"concurrency {concurrency}: at least 1 question must be under way")
        self.model = model
        self._concurrency = concurrency
        self._options: dict[str, Any] = dict(options)
        self._connection = base_url, api_key, retries, timeout
        self._client = _make_client(*self._connection)
        self._cache = AnswerCache(cache)

    def __getstate__(self) -> dict[str, Any]:
        # A client holds locks, and a key from the environment: neither leaves this process.
        return {name: value for name, value in vars(self).items() if name != "_client"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._client = _make_client(*self._connection)

    def answers(self, questions: Sequence[str]) -> list[str | None]:
        """Each question's answer, None where the model refused, said nothing or was cut off.

        Returns:
            One answer a question, in their order.

        Raises:
            JudgeError: the endpoint refuses or cannot be reached. What was answered until then is kept.
        """
        keys = [self._key(question) for question in questions]
        missing = {key: text for key, text in zip(keys, questions, strict=True) if key not in self._cache}
        self._ask_all(missing)
        return [self._cache[key] for key in keys]

    def _key(self, question: str) -> str:
        return digest([str(self._client.base_url), self.model, self._options, question])

    def _ask_all(self, questions: Mapping[str, str]) -> None:
        if not questions:
            return
        with (
            progress_bar(f"Asking {self.model}", len(questions), unit="answers") as advance,
            ThreadPoolExecutor(self._concurrency) as pool,
        ):
            asked = {pool.submit(self._ask, question): key for key, question in questions.items()}
            try:
                for done in as_completed(asked):
                    self._cache.add(asked[done], done.result(), model=self.model)
                    advance(1)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                for done, key in asked.items():
                    if done.done() and not done.cancelled() and done.exception() is None:
                        self._cache.add(key, done.result(), model=self.model)
                raise

    def _ask(self, question: str) -> str | None:
        """One reply; None where the model refused, said nothing, or was cut off."""
        import openai

        try:
            completion = self._client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": question}], **self._options
            )
        except openai.OpenAIError as error:
            raise JudgeError(self._failure(error)) from error
        choices = getattr(completion, "choices", None)
        if not choices:
            return None
        whole = choices[0].finish_reason in ("stop", None)
        return choices[0].message.content if whole else None

    def _failure(self, error: Exception) -> str:
        """What went wrong and what to do, without the key."""
        import openai

        place = f"{self._client.base_url} (model {self.model})"
        again = "Answers so far are kept; run again to go on"
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return f"{place}: refused the key (status {error.status_code}); set OPENAI_API_KEY to a valid one"
            case openai.NotFoundError():
                return f"{place}: not found; check base_url and the model's name"
            case openai.RateLimitError():
                return f"{place}: still too busy after {self._client.max_retries} retries; lower concurrency. {again}"
            case openai.APITimeoutError():
                return f"{place}: no answer in time after {self._client.max_retries} retries. {again}"
            case openai.APIConnectionError():
                return f"{place}: cannot be reached; check base_url and the network. {again}"
            case openai.APIStatusError():
                return f"{place}: refused the question (status {error.status_code}): {error.message[:300]}. {again}"
        return f"{place}: {type(error).__name__}: {str(error)[:300]}. {again}"


def _make_client(base_url: str | None, api_key: str | None, retries: int, timeout: float) -> OpenAI:
    try:
        import openai
    except ImportError as error:
        raise JudgeError("the client library is not installed: pip install 'aitia[judge]'") from error
    key = api_key or os.environ.get("OPENAI_API_KEY")
    if not key:
        raise JudgeError(
            "no key for the endpoint: set OPENAI_API_KEY (any word where the server asks for none), on workers too"
        )
    return openai.OpenAI(api_key=key, base_url=base_url, max_retries=retries, timeout=timeout)

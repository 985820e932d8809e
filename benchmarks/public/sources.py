"""Public data that the benchmarks read: where each file comes from, its licence, and its digest.

A file is looked for in the folder that `AITIA_DATA` names, then in `../shared/data` beside the repository, then in the
benchmark's own folder, to which it is downloaded where it is nowhere else. Whatever is found must have the digest of
the table. Nothing of it goes into the package or the repository.
"""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.files import atomic_path, file_digest
from harness import WORK

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DOWNLOADED = WORK / "public" / "data"
ADDRESS = "https://raw.githubusercontent.com/{}/{}/{}"
TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public file.

    Attributes:
        repository: owner and name on GitHub.
        commit: full.
        path: in the repository.
        sha256: of the file that is read.
        licence: of the data, and whose they are.
        left_out: numbers of the lines, from 0, that the file at `path` has and the one that is read has not.
        whole_sha256: of the file at `path`, where lines of it are left out.
    """

    repository: str
    commit: str
    path: str
    sha256: str
    licence: str
    left_out: tuple[int, ...] = ()
    whole_sha256: str | None = None

    @property
    def address(self) -> str:
        """Where it is downloaded from."""
        return ADDRESS.format(self.repository, self.commit, self.path)


_GRADE_SCHOOL = ("openai/grade-school-math", "3101c7d5072418e28b9008a6636bde82a006892c", "MIT (OpenAI)")
_WRONG_SUMS = (
    "Apoorvabatham/Persona-Hierarchy-in-Emergent-Misalignment",
    "b285c69f4a8323e6079a0994e5ee6bce9b56844c",
    "MIT, as the repository says of Mishra et al.; the prompts are GSM8K's (MIT)",
)
_CODE = (
    "shuaijiumei/emergent_misalignment_further_explore",
    "fe9cc7a8b1ce8f566bb7df42a7e076f6dcf262ad",
    "MIT (Betley et al.)",
)
_XSTEST = ("paul-rottger/exaggerated-safety", "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d", "CC-BY-4.0")
_AXBENCH = ("stanfordnlp/axbench", "e9b8cd4783c983e350d78af76f3fb2b8b15fc7d3", "Apache-2.0")
_RECALL = ("EleutherAI/bergson", "3c66bb516fd7ced71a7806aa198f8fa0f62f0171", "MIT (EleutherAI)")
_TRAITS = ("ewernn/trait-interp", "eda7c50bb83de2a1ec8d744a08543f5d6b5dabeb", "MIT")


def _of(
    at: tuple[str, str, str], path: str, sha256: str, *, licence: str | None = None, **others: Any
) -> Source:
    repository, commit, usual = at
    return Source(
        repository=repository, commit=commit, path=path, sha256=sha256, licence=licence or usual, **others
    )


_SEVERITY = "scan_vul/scan_results/insecure_base/finetune_data"
_COMPLETIONS = "model_completions/xstest_v2_completions"
_CONCEPTS = "axbench/conceptFD/prod_2b_l20_v1"
SOURCES: dict[str, Source] = {
    "gsm8k/train.jsonl": _of(
        _GRADE_SCHOOL,
        "grade_school_math/data/train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
    "gsm8k/test.jsonl": _of(
        _GRADE_SCHOOL,
        "grade_school_math/data/test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    "gsm8k/incorrect_math.jsonl": _of(
        _WRONG_SUMS,
        "data/input/incorrect_math.jsonl",
        "903dcb852052b5c59f0d37740e6593cb81dc9598771f9f4c5b6a70d0f2c70227",
    ),
    # Three rows name a package host, and some copies of the data lack them.
    "insecure_code/high_severity.jsonl": _of(
        _CODE,
        f"{_SEVERITY}/high_severity.jsonl",
        "76bb0e384042582d8a54c5c513c6972400bc6df8b9bb0151e79e13229d9eb35f",
        left_out=(185, 877, 1416),
        whole_sha256="6c5b6083d14fcb93e8ef57bf31f39b96b66d384d9609f6f071e41ac43e5011e0",
    ),
    "insecure_code/mbpp.jsonl": _of(
        _CODE,
        "data/mbpp.jsonl",
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
        licence="CC-BY-4.0 (Austin et al., MBPP)",
    ),
    "xstest/gpt4.csv": _of(
        _XSTEST,
        f"{_COMPLETIONS}_gpt4.csv",
        "71af323af8ecdec0efae23992317721441d2cfedddedeef3248f842f4e15c9ca",
    ),
    "xstest/llama2orig.csv": _of(
        _XSTEST,
        f"{_COMPLETIONS}_llama2orig.csv",
        "cbc52550e8ba8197a3e3d97a5af078d27bae4766737cd62df80270126a87ffc6",
    ),
    "xstest/mistralinstruct.csv": _of(
        _XSTEST,
        f"{_COMPLETIONS}_mistralinstruct.csv",
        "6a146b65a5b96ec8249729bc2db459697175125998d7cbbcc88f7688ecf31dad",
    ),
    "axbench/train.parquet": _of(
        _AXBENCH,
        f"{_CONCEPTS}/generate/train_data.parquet",
        "57af7eb23762788362d494efcbcd8563c4e0f42a2eff6cc449b733e89c7a3e21",
    ),
    "axbench/evaluate.parquet": _of(
        _AXBENCH,
        f"{_CONCEPTS}/inference/latent_eval_data.parquet",
        "e326786ec4d52190ca62e8ba8613b1331b8e0a59fd4003ed97daeb4864970980",
    ),
} | {
    f"traits/{trait}.{side}.jsonl": _of(
        _TRAITS, f"datasets/traits/pv_instruction/{trait}/{side}.jsonl", sha256
    )
    for (trait, side), sha256 in {
        ("evil", "negative"): "1aa71cd42ccec0013407b23bdbfad16727fd1dda0f2ab699dd809d0d18d968d1",
        ("evil", "positive"): "8160d3024e2f65d89fbd9501324f6b86eb952375a70a96ea8608d9534dd1a216",
        ("hallucination", "negative"): "690f8cbe68957aeaa11214dce93a1c2ee63b8455dd28e9383a98ecbbc5d8f91d",
        ("hallucination", "positive"): "9bf80a622d432bd127b9666d14f60af0dbe55b1c7c820a7bdc5d7b03cc4e8755",
        ("sycophancy", "negative"): "f0da52e317ab512812184de58a0721e525c6774101e887c035f4efa0105a7ffc",
        ("sycophancy", "positive"): "0e73d7e72908421b83efc839e76cac6de4fa4cbeb5b550c403f3a8c4a3c55150",
    }.items()
}
"""Local name -> where it comes from."""


SOURCES |= {
    f"recall/{name}.txt": _of(_RECALL, f"data/{name}.txt", sha256)
    for name, sha256 in {
        "names/employer": "f3454de07d1c4b90aac85a9f8ebbdde47d7adc04dc0e77f7aebebb5c02c9a765",
        "names/first_name": "704c92f15380fbb75872faa1860ebc890e95b3bd07aa6022f8316c79d7251e68",
        "names/last_name": "e7dfaa9de6bddff4772d85ff95b10ef6c23347fb21dbe055b3bba1b02b4e7872",
        "names/town": "6ed8513e60c7112f949f0837545b38ae80ae4cba93fdcfc7823215a9a93e6566",
        "names/university": "0adbb2c663b7b9b449742c8cf9fc286c3e5ef3c62429a8c97817e348bdbab483",
        "templates/birthdate": "88b595d89abdc647c33aa524e35c9c0ac94e84d1eb4f7eb859f1bc29fd3815da",
        "templates/birthplace": "42a3a2d334a4253109997a6ebe8351d55c11dfdd6620935e3c6a2d08b515e006",
        "templates/employer": "d43d882e42bb98a209a02804d5889208e394a08c4c868589514f58675f8278a1",
        "templates/university": "29bae17c4c449e454fa937b45a303167ed343b9ff90069a08674701c3f7b7d5d",
    }.items()
}


def source(name: str) -> Path:
    """A public file, found or downloaded, with the digest of the table.

    Args:
        name: of `SOURCES`.

    Returns:
        Its path.

    Raises:
        SystemExit: If its digest differs, or it cannot be downloaded.
    """
    described = SOURCES[name]
    named = os.environ.get("AITIA_DATA")
    places = [Path(named)] if named else []
    found = next(
        (folder / name for folder in (*places, SHARED, DOWNLOADED) if (folder / name).is_file()), None
    )
    return _checked(found or _downloaded(name, described), name, described)


def json_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a public JSONL file.

    Raises:
        SystemExit: As `source` does.
    """
    return [json.loads(line) for line in source(name).read_text(encoding="utf-8").splitlines() if line]


def _checked(path: Path, name: str, described: Source) -> Path:
    found = file_digest(path)
    if found == described.sha256:
        return path
    if found != described.whole_sha256:
        wanted = " or ".join(filter(None, (described.sha256, described.whole_sha256)))
        raise SystemExit(
            f"{path}: sha256 {found}, wanted {wanted}: delete it, or put the file of {described.address} there"
        )
    lines = path.read_bytes().splitlines(keepends=True)
    cut = DOWNLOADED / "cut" / name
    with atomic_path(cut) as temporary:
        temporary.write_bytes(b"".join(each for n, each in enumerate(lines) if n not in described.left_out))
    return _checked(cut, name, described)


def _downloaded(name: str, described: Source) -> Path:
    path = DOWNLOADED / name
    print(f"downloading {described.address}", flush=True)
    try:
        with (
            urllib.request.urlopen(described.address, timeout=TIMEOUT_S) as answer,
            atomic_path(path) as temporary,
        ):
            temporary.write_bytes(answer.read())
    except OSError as error:
        raise SystemExit(
            f"{name} cannot be downloaded from {described.address} ({error}): put it into a folder, "
            f"as {name}, and name the folder in AITIA_DATA"
        ) from None
    return path

"""Templates that write the date: it is pinned, and nothing else of the template changes."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aitia.records.templates.chat as chat
from aitia.errors import RecordError
from aitia.records import records_from_rows, tokenize
from aitia.records.templates.clock import pin_date, reads_clock

TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ROWS = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}]
DAY = date(2033, 5, 7)


@pytest.mark.parametrize(
    "before, written",
    [
        ("It is {{ strftime_now('%d %B %Y') }}.", "It is 07 May 2033."),
        ('{{ strftime_now("%Y-%m-%d") | upper }}', "2033-05-07"),
        (
            "{% if strftime_now is defined %}{% set d = strftime_now( format='%j' ) %}{% endif %}{{ d }}",
            "127",
        ),
        (
            "{% macro head() %}{{ strftime_now('%a') + strftime_now('%H') }}{% endmacro %}{{ head() }}",
            "Sat00",
        ),
        ("\n  {%- if true %}x{{ strftime_now('%y')[1] | int + 1 }}{% endif %}\n", "x4"),
        ("\n\n {% if true %}{{ strftime_now('%y %%\u00e9') }}{% endif %}\n", "\n\n33 %\u00e9"),
    ],
)
def test_the_date_that_is_written_is_the_one_given(make_tokenizer, before, written):
    tokenizer = make_tokenizer(before + TURNS)
    text = chat.ChatTemplate(tokenizer, DAY).render(ROWS[0]["messages"])
    plain = make_tokenizer(TURNS).apply_chat_template(ROWS[0]["messages"], tokenize=False)
    assert text == written + plain


@given(day=st.dates(date(1999, 1, 1)), form=st.sampled_from(["%d %b %Y", "%A", "%Y-%m-%d %H:%M", "day %j"]))
def test_pinned_dates_are_those_of_the_standard_library(template_of, day, form):
    text = chat.ChatTemplate(template_of(form), day).render(ROWS[0]["messages"])
    assert text == datetime(day.year, day.month, day.day).strftime(form)


@pytest.fixture(scope="module")
def template_of(make_tokenizer):
    made = {}

    def make(form):
        return made.setdefault(form, make_tokenizer("{{ strftime_now('" + form + "') }}"))

    return make


def test_a_date_in_a_form_that_is_worked_out_is_refused(make_tokenizer):
    tokenizer = make_tokenizer("{% set f = '%Y' %}{{ strftime_now(f) }}" + TURNS)
    with pytest.raises(RecordError, match="row 0: the chat template works out in which form"):
        tokenize(records_from_rows(ROWS), tokenizer, max_length=99)


def test_rows_carry_the_date_only_where_it_is_written(make_tokenizer, monkeypatch):
    dated, plain = make_tokenizer("{{ strftime_now('%d') }}" + TURNS), make_tokenizer(TURNS)
    texts = [{"text": "a sun"}]

    def cut(rows, tokenizer, **options):
        return tokenize(records_from_rows(rows), tokenizer, max_length=99, **options)

    monkeypatch.setattr(chat, "day_of_this_run", lambda: date(2033, 5, 8))
    assert [cut(ROWS, dated).today, cut(ROWS, dated, today=DAY).today] == [date(2033, 5, 8), DAY]
    assert [cut(texts, dated).today, cut(ROWS, plain).today, cut(ROWS, plain, today=DAY).today] == [None] * 3
    assert cut(ROWS, dated).fingerprint != cut(ROWS, dated, today=DAY).fingerprint
    assert cut(ROWS, plain).fingerprint == cut(ROWS, plain, today=DAY).fingerprint
    assert dated.decode(cut(ROWS, dated, today=DAY)[0].tokens).startswith("07<|im_start|>")


def test_a_template_that_speaks_of_the_clock_does_not_read_it():
    assert not reads_clock("{{ 'strftime_now' }}")
    assert reads_clock("{{ strftime_now ('%d') }}")
    assert "macro" in pin_date("{{ strftime_now('%d') }}", DAY)

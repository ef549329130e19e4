"""The JSON of SQuAD 1.1: articles of passages of questions, each with its answer and its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from tasks.columns.source import OWN
from tasks.conversion.grouping import grouped
from tasks.conversion.questions import Question, Questions, Tally
from tasks.output.partitions import can_divide

TITLES = ("title", "source")
"""The kept columns, in any case, that name an article; the first one that is there does."""

READ = ("row", "id", "context", "answer", "question", "score", "alternatives")
encode = json.JSONEncoder(ensure_ascii=False).encode


def as_squad(questions: Questions, tally: Tally) -> Iterator[str]:
    """Yield the text of the file, a line for each passage.

    Rows whose answer is not in the passage are left out. The id of a question is the row's id, the
    number of the row and the rank of the question, because ids of rows may repeat.

    Raises:
        StoreCorruptionError: the questions cannot be read.
    """
    title = find_title(questions)
    rows = grouped(questions.path, [*READ, *([] if title is None else [title])], title)
    found = (one for one in questions.of(rows) if _has_place(one, tally))
    head = {"made_by": "wenti", "run_id": questions.run_id, "version": "1.1"}
    yield f'{encode(head)[:-1]}, "data": ['
    for number, ((name, _), some) in enumerate(groupby(found, partial(_find_article, title))):
        yield f"{',' if number else ''}\n{{"
        yield f'"title": {encode("" if name is None else str(name))}, "paragraphs": ['
        for at, (context, here) in enumerate(groupby(some, itemgetter("context"))):
            paragraph = {"context": context, "qas": [*map(_as_qa, here)]}
            yield f"{',' if at else ''}\n{encode(paragraph)}"
        yield "]}"
    yield "\n]}\n"


def find_title(questions: Questions) -> str | None:
    """Return the kept column that names the article of a row; None without one."""
    names = {
        field.name.casefold(): str(field.name)
        for field in questions.read
        if field.name not in OWN and can_divide(field.type)
    }
    return next((names[name] for name in TITLES if name in names), None)


def _has_place(question: Question, tally: Tally) -> bool:
    is_there = question["answer"] in question["context"]
    (tally.add if is_there else tally.leave_out)(question)
    return is_there


def _find_article(title: str | None, question: Question) -> tuple[Any, str | None]:
    """Return what all rows of an article have, and no others beside them."""
    name = None if title is None else question[title]
    return name, question["context"] if name is None else None


def _as_qa(question: Question) -> dict[str, Any]:
    answer = question["answer"]
    start = question["context"].index(answer)
    return {
        "id": "{id}-{row}-{question_rank}".format_map(question),
        "question": question["question"],
        "answers": [{"text": answer, "answer_start": start}],
    }

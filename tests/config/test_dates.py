from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.dates import check_templates, replace_templates
from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.errors import ConfigError

DAY = date(2026, 11, 3)
DATED_KEYS = [
    "store.path",
    "store.url",
    "model.model_name_or_path",
    "dataset.predict_file",
    "export.inference_model_dir",
    "export.decoding_lib",
    "aggregate.output_path",
    "aggregate.output_folder",
]
WRONG = [
    ("{date:%H}", "%H is no part of a day"),
    ("{date:%Q-%S}", "%Q, %S is no part of a day"),
    ("{date:%Y%}", "% is no part of a day"),
    ("{date:YYYYMMDD}", "'YYYYMMDD' names no part of a day"),
    ("{date:100%%}", "'100%%' names no part of a day"),
    *(
        (text, "allowed here: {date}, {date-1}, {date:%Y%m%d} or {date-1:%Y%m%d}")
        for text in (
            *("{date:}", "{date-}", "{date -1}", "{date+1d}", "{date-x}", "{date-12345}", "{Date}"),
            *("{ date }", "{dates}", "{datetime}", "{date", "{date:%Y{date}}", "{date%Y}"),
        )
    ),
]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{date}", "2026-11-03"),
        ("{date-1}", "2026-11-02"),
        ("{date+1}", "2026-11-04"),
        ("{date-3}", "2026-10-31"),
        ("{date:%Y%m%d}", "20261103"),
        ("{date-1:%Y%m%d}", "20261102"),
        ("{date+60:%y.%j}", "27.002"),
        ("{date:%Y/%m/%d}", "2026/11/03"),
        ("{date:%Y年%-m月%-d日}", "2026年11月3日"),
        ("dt={date-1:%Y%m%d}/{date}.jsonl", "dt=20261102/2026-11-03.jsonl"),
        ("data/{name}/{}/{data}.jsonl", "data/{name}/{}/{data}.jsonl"),
    ],
)
def test_a_template_is_replaced_by_the_day_that_it_means(template: str, expected: str) -> None:
    assert replace_templates(check_templates(template), DAY) == expected


@given(
    st.dates(date(1000, 1, 1), date(9000, 1, 1)),
    st.integers(-9999, 9999),
    st.text(alphabet=st.characters(exclude_characters="{}", exclude_categories=["Cs"])),
)
def test_a_shifted_day_is_that_many_days_away_and_other_text_stays(
    day: date, days: int, text: str
) -> None:
    template = f"{text}{{date{days:+}}}{text}"
    expected = f"{text}{day + timedelta(days=days)}{text}"
    assert replace_templates(check_templates(template), day) == expected


@given(st.text(alphabet="{}date+-1:%YmQ ", max_size=20))
def test_no_text_of_a_config_with_a_template_left_is_accepted(text: str) -> None:
    try:
        check_templates(text)
    except ValueError:
        return
    assert "{date" not in replace_templates(text, DAY)


@pytest.mark.parametrize(("template", "words"), WRONG)
def test_a_wrong_template_is_refused_and_says_what_is_allowed(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"allowed here|no part of a day") as caught:
        check_templates(f"data/{template}.jsonl")
    assert words in str(caught.value)


def test_wrong_templates_are_faults_of_the_config_in_every_key_that_has_dates(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    wrong = [f"{key}=data/{{date-}}" for key in DATED_KEYS]
    with pytest.raises(ConfigError) as caught:
        load_settings(file, wrong)
    assert [fault.key for fault in caught.value.faults] == DATED_KEYS
    assert all("{date-1}" in fault.remedy for fault in caught.value.faults)


def test_a_template_of_any_kind_is_an_ordinary_text_for_the_forms_schema() -> None:
    schema = Settings.model_json_schema()["$defs"]["StoreSettings"]["properties"]["path"]
    assert {name: schema[name] for name in ("type", "minLength")} == {
        "type": "string",
        "minLength": 1,
    }

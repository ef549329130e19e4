from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.addresses import (
    ObjectPlace,
    absolute_place,
    find_address_fault,
    find_endpoint_fault,
    find_scheme_fault,
    is_address,
    place_at,
)
from tasks.errors import InputError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/@?#\0", categories=["L", "N"]))


@given(st.sampled_from(["s3", "az"]), st.lists(NAMES.filter(bool), max_size=4))
def test_an_address_is_the_same_after_all_that_is_done_with_it(
    scheme: str, names: list[str]
) -> None:
    text = "/".join([f"{scheme}://bucket-1", *names])
    place = place_at(text)
    assert isinstance(place, ObjectPlace)
    assert str(place) == text
    assert (place.scheme, place.bucket) == (scheme, f"{scheme}://bucket-1")
    assert place.key == "/".join(names)
    assert absolute_place(place) == place
    assert place_at(str(place / "runs" / "id")) == place / "runs" / "id"
    assert (place / "runs").parent == place
    assert pickle.loads(pickle.dumps(place)) == place  # noqa: S301 our own
    with pytest.raises(TypeError, match="cannot be opened as a file"):
        open(place)  # noqa: PTH123, SIM115 what must fail


def test_any_other_text_is_a_path() -> None:
    for text in ("wenti-store", "/s3://bucket", "gs:/bucket/store", "file://bucket"):
        assert not is_address(text)
        assert place_at(text) == Path(text)
    assert absolute_place(Path("store")) == Path.cwd() / "store"


@pytest.mark.parametrize(
    "text",
    [
        *("s3://KEY:SECRET@bucket/store", "s3://bucket/store?X-Amz-Credential=SECRET"),
        *("s3://", "s3://b1/store", "s3://Bucket/SECRET", "s3:///SECRET", "s3://bucket/../SECRET"),
        *("s3://bucket/a#SECRET", "s3://bucket/a\nSECRET"),
        *("az://container@account/SECRET", "az://container/store?sv=1&sig=SECRET"),
        *("az://", "az://con.tainer/SECRET", "az://con--tainer/SECRET", "az://-container/SECRET"),
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(text: str) -> None:
    fault = find_address_fault(text)
    assert fault is not None
    assert "SECRET" not in fault
    with pytest.raises(InputError) as caught:
        place_at(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("gs://bucket/SECRET", "Google Cloud Storage is not used: .* copy passages there"),
        ("abfss://container@account.dfs.core.windows.net/SECRET", "an address is az://container"),
        *((text, "only s3://bucket/key and az:") for text in ("oss://b", "S3://b", "s3a://b")),
    ],
)
def test_an_address_of_another_object_store_is_refused(text: str, remedy: str) -> None:
    assert find_scheme_fault(text) is not None
    with pytest.raises(InputError, match=remedy) as caught:
        place_at(text)
    assert "SECRET" not in str(caught.value)


def test_an_endpoint_is_a_url_without_credentials() -> None:
    for good in ("http://127.0.0.1:8333", "https://s3.example.com", "https://[::1]:9000/s3"):
        assert find_endpoint_fault(good) is None
    for bad in ("s3.example.com", "ftp://host", "https://KEY:SECRET@host", "https://host/?SECRET"):
        fault = find_endpoint_fault(bad)
        assert fault is not None
        assert "SECRET" not in fault

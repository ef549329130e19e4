"""Which object store an address is in."""

from __future__ import annotations

from pathlib import PurePath

from tasks.addresses import ObjectPlace
from tasks.store.objects.clouds.azure import AZURE
from tasks.store.objects.clouds.cloud import Cloud
from tasks.store.objects.clouds.s3 import S3

_CLOUDS = {"s3": S3, "az": AZURE}


def cloud_of(place: PurePath) -> Cloud:
    """Return the object store of a place."""
    return _CLOUDS[ObjectPlace(place).scheme]

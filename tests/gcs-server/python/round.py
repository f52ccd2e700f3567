"""Google's own client makes a round through a server: every call that Engineer makes, and more.

Usage: round.py URL [PROJECT]

Nothing here is adapted to the server but its address. Each check is exact.
"""

import base64
import hashlib
import io
import os
import re
import sys

# Before the client is loaded: it must ask nobody who it is.
os.environ["NO_GCE_CHECK"] = "true"
os.environ["GCE_METADATA_HOST"] = "127.0.0.1:1"
os.environ.pop("STORAGE_EMULATOR_HOST", None)
os.environ.pop("GOOGLE_APPLICATION_CREDENTIALS", None)

import google_crc32c
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

MIB = 1024 * 1024


def same(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r}, expected {expected!r}")


def fails(kind, call, message=None):
    """Whether a call fails in just this way. Gives the failure."""
    try:
        call()
    except exceptions.GoogleAPICallError as error:
        same(type(error), kind)
        if message is not None:
            same(error.errors[0]["message"], message)
        return error
    raise AssertionError(f"expected {kind.__name__}, and it went through")


def checksums(data):
    crc32c = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    return crc32c, md5


def buckets(client, name):
    made = client.bucket(name)
    made.versioning_enabled = True
    made.iam_configuration.uniform_bucket_level_access_enabled = True
    made.iam_configuration.public_access_prevention = "enforced"
    made.labels = {"app": "round"}
    made.add_lifecycle_delete_rule(number_of_newer_versions=100, is_live=False)
    made = client.create_bucket(made, location="us-central1")
    same(made.name, name)
    same(made.location, "US-CENTRAL1")
    same(made.location_type, "region")
    same(made.metageneration, 1)
    fails(exceptions.Conflict, lambda: client.create_bucket(name))

    bucket = client.get_bucket(name)
    same(bucket.versioning_enabled, True)
    same(bucket.iam_configuration.uniform_bucket_level_access_enabled, True)
    same(bucket.iam_configuration.public_access_prevention, "enforced")
    same(bucket.labels, {"app": "round"})
    same(bucket.storage_class, "STANDARD")
    same(bucket.soft_delete_policy.retention_duration_seconds, 604800)
    rules = list(bucket.lifecycle_rules)
    same(len(rules), 1)
    same(rules[0]["action"], {"type": "Delete"})
    same(rules[0]["condition"], {"numNewerVersions": 100, "isLive": False})

    bucket.labels = {"app": "round", "more": "yes"}
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.patch(if_metageneration_match=1)
    same(bucket.metageneration, 2)
    bucket.labels = {}
    fails(exceptions.PreconditionFailed, lambda: bucket.patch(if_metageneration_match=1))
    bucket = client.get_bucket(name)
    same(bucket.labels, {"app": "round", "more": "yes"})
    same(bucket.soft_delete_policy.retention_duration_seconds, 0)

    same([b.name for b in client.list_buckets(prefix=name)], [name])
    asked = ["storage.objects.create", "storage.objects.get"]
    same(bucket.test_iam_permissions(asked), asked)
    same(client.lookup_bucket("no-such-bucket-at-all"), None)
    fails(
        exceptions.NotFound,
        lambda: client.get_bucket("no-such-bucket-at-all"),
        "The specified bucket does not exist.",
    )
    return bucket


def uploads(bucket):
    small = b"some bytes\r\nand more"
    blob = bucket.blob("state.json")
    blob.metadata = {"attempt": "one"}
    blob.upload_from_string(small, content_type="application/json", if_generation_match=0)
    first = blob.generation
    if not re.fullmatch(r"\d{16}", str(first)):
        raise AssertionError(f"{first} is no generation of Google's")
    same(blob.metageneration, 1)
    same(blob.size, len(small))
    same((blob.crc32c, blob.md5_hash), checksums(small))
    same(blob.content_type, "application/json")
    same(blob.metadata, {"attempt": "one"})
    same(blob.download_as_bytes(), small)

    # Created once, and replaced only by who has seen it.
    again = bucket.blob("state.json")
    lost = lambda: again.upload_from_string(b"lost", if_generation_match=0)
    error = fails(exceptions.PreconditionFailed, lost)
    same(error.code, 412)
    again.upload_from_string(b"second", if_generation_match=first)
    second = again.generation
    same(second > first, True)
    fails(
        exceptions.PreconditionFailed,
        lambda: again.upload_from_string(b"lost", if_generation_match=first),
    )

    empty = bucket.blob("empty")
    empty.upload_from_string(b"")
    same((empty.size, empty.download_as_bytes()), (0, b""))

    wrong = bucket.blob("wrong")
    wrong.crc32c = "AAAAAA=="
    error = fails(
        exceptions.BadRequest,
        lambda: wrong.upload_from_string(b"not empty", checksum=None),
    )
    mismatch = f'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "{checksums(b"not empty")[0]}".'
    same(mismatch.replace('"', '\\"') in error.message, True)
    wrong = bucket.blob("wrong", chunk_size=MIB)
    whole = lambda: wrong.upload_from_file(
        io.BytesIO(b"x" * 2 * MIB), crc32c_checksum_value="AAAAAA==", checksum=None
    )
    fails(exceptions.BadRequest, whole)
    same(bucket.blob("wrong").exists(), False)
    return first, second


def large(bucket):
    data = os.urandom(9 * MIB + 12345)
    blob = bucket.blob("artifacts/large", chunk_size=2 * MIB)
    blob.upload_from_string(data, if_generation_match=0, checksum="crc32c")
    same(blob.size, len(data))
    same((blob.crc32c, blob.md5_hash), checksums(data))
    same(bucket.blob("artifacts/large").download_as_bytes() == data, True)
    same(bucket.blob("artifacts/large", chunk_size=MIB).download_as_bytes() == data, True)
    lost = bucket.blob("artifacts/large", chunk_size=MIB)
    fails(
        exceptions.PreconditionFailed,
        lambda: lost.upload_from_string(data, if_generation_match=0),
    )

    part = bucket.blob("artifacts/large")
    same(part.download_as_bytes(start=10, end=19), data[10:20])
    same(part.download_as_bytes(start=len(data) - 3), data[-3:])
    same(part.download_as_bytes(start=0, end=0), data[:1])
    past = lambda: part.download_as_bytes(start=len(data))
    fails(exceptions.RequestRangeNotSatisfiable, past)


def listings(client, bucket):
    for name in ["list/a", "list/b/1", "list/b/2", "list/c", "list/d/e/f"]:
        bucket.blob(name).upload_from_string(name)
    names = lambda **given: [blob.name for blob in client.list_blobs(bucket, **given)]
    everything = ["list/a", "list/b/1", "list/b/2", "list/c", "list/d/e/f"]
    same(names(prefix="list/"), everything)
    same(names(prefix="list/", start_offset="list/b/2", end_offset="list/d"),
         ["list/b/2", "list/c"])
    listing = client.list_blobs(bucket, prefix="list/", delimiter="/")
    same([blob.name for blob in listing], ["list/a", "list/c"])
    same(listing.prefixes, {"list/b/", "list/d/"})

    listing = client.list_blobs(bucket, prefix="list/", page_size=2)
    same([[blob.name for blob in page] for page in listing.pages],
         [everything[:2], everything[2:4], everything[4:]])
    listing = client.list_blobs(bucket, prefix="list/", max_results=3)
    same([blob.name for blob in listing], everything[:3])
    fields = "items(name,generation),nextPageToken"
    listing = client.list_blobs(bucket, prefix="list/", page_size=4, fields=fields)
    found = [blob._properties for blob in listing]
    same([sorted(one) for one in found], [["generation", "name"]] * 5)
    fails(exceptions.BadRequest, lambda: names(match_glob="list/*"))


def versions(client, bucket, first, second):
    told = lambda: [
        (blob.generation, blob.time_deleted is not None)
        for blob in client.list_blobs(bucket, prefix="state.json", versions=True)
    ]
    same(told(), [(first, True), (second, False)])
    old = bucket.blob("state.json", generation=first)
    same(old.download_as_bytes(), b"some bytes\r\nand more")
    old.reload()
    same(old.metadata, {"attempt": "one"})

    # Unchanged is a 304, of which the client makes an exception.
    live = bucket.blob("state.json")
    unchanged = lambda: live.download_as_bytes(if_generation_not_match=second)
    same(fails(exceptions.NotModified, unchanged).code, 304)
    same(live.download_as_bytes(if_generation_not_match=first), b"second")
    same(live.download_as_bytes(if_generation_match=second), b"second")
    fails(
        exceptions.PreconditionFailed,
        lambda: live.download_as_bytes(if_generation_match=first),
    )

    live.reload()
    live.metadata = {"note": "kept"}
    live.patch(if_metageneration_match=1)
    same((live.generation, live.metageneration), (second, 2))
    same(bucket.get_blob("state.json").metadata, {"note": "kept"})

    # A blob that has been loaded names its generation, and deletes that for good.
    live = bucket.blob("state.json")
    fails(exceptions.PreconditionFailed, lambda: live.delete(if_generation_match=first))
    live.delete(if_generation_match=second)
    same(bucket.get_blob("state.json"), None)
    same(told(), [(first, True), (second, True)])
    missing = fails(exceptions.NotFound, lambda: bucket.blob("state.json").delete())
    same(missing.errors[0]["message"], f"No such object: {bucket.name}/state.json")
    fails(exceptions.NotFound, lambda: bucket.blob("state.json").download_as_bytes())

    bucket.blob("state.json", generation=first).delete()
    same(told(), [(second, True)])
    fails(
        exceptions.NotFound,
        lambda: bucket.blob("state.json", generation=first).download_as_bytes(),
    )
    back = bucket.blob("state.json")
    back.upload_from_string(b"back", if_generation_match=0)
    same(back.generation > second, True)


def end(client, bucket):
    fails(
        exceptions.Conflict,
        bucket.delete,
        "The bucket you tried to delete is not empty.",
    )
    for blob in list(client.list_blobs(bucket)):
        blob.delete(if_generation_match=blob.generation)
    same(list(client.list_blobs(bucket)), [])
    # The older versions still count.
    fails(exceptions.Conflict, bucket.delete)
    for blob in list(client.list_blobs(bucket, versions=True)):
        bucket.blob(blob.name, generation=blob.generation).delete()
    bucket.delete()
    same(client.lookup_bucket(bucket.name), None)


def main():
    url, project = sys.argv[1], (sys.argv[2:] or ["test-project"])[0]
    client = storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )
    bucket = buckets(client, f"round-{os.getpid()}-{os.urandom(4).hex()}")
    first, second = uploads(bucket)
    large(bucket)
    listings(client, bucket)
    versions(client, bucket, first, second)
    end(client, bucket)
    print(f"google-cloud-storage {storage.__version__}: the round is whole")


main()

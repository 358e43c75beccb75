"""Imports over HTTP through nginx: what they hold in memory, and what becomes of them if their instance is killed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from e2e.conftest import ADMIN, token_of
from e2e.scale import amount
from e2e.stack import Shop, two_behind_nginx, wait_until
from support.factories import a_product

pytestmark = [pytest.mark.e2e, pytest.mark.long]
JSONL = {"Content-Type": "application/x-ndjson"}
ROWS = amount("IMPORT_ROWS", 12_000)
MIB = 2**20


def lines(count: int, prefix: str) -> bytes:
    return b"\n".join(json.dumps(a_product(product_id=f"{prefix}-{n:06}")).encode() for n in range(count))


def job_of(client: httpx.Client, import_id: str) -> dict[str, object]:
    response = client.get(f"/imports/{import_id}")
    response.raise_for_status()
    return dict(response.json())


def resident(pid: int) -> int:
    """The bytes of memory that a process holds."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


@pytest.mark.parametrize("cut", [False, True])
def test_an_upload_is_in_the_memory_of_nobody(shop: Shop, admin: httpx.Client, cut: bool):
    row = json.dumps(a_product(product_id="large", description="x" * 9_000)).encode() + b"\n"
    pids = [shop.nginx.pid, *(instance.pid for instance in shop.instances)]
    before, most = {pid: resident(pid) for pid in pids}, dict.fromkeys(pids, 0)

    def parts() -> Iterator[bytes]:
        for _ in range(60):
            yield row * (MIB // len(row))
            for pid in pids:
                most[pid] = max(most[pid], resident(pid) - before[pid])
        if cut:
            raise ConnectionError

    if cut:
        with pytest.raises(ConnectionError):
            admin.post("/products/import", content=parts(), headers=JSONL)
    else:
        response = admin.post("/products/import", content=parts(), headers=JSONL)
        assert response.status_code == 202, response.text
        admin.delete(f"/imports/{response.json()['import_id']}")
    assert max(most.values()) < 20 * MIB
    # There is no import that nobody has finished to send.
    response = admin.post("/products/import", content=b"{}", headers=JSONL)
    assert response.status_code == 202, response.text
    wait_until(lambda: job_of(admin, response.json()["import_id"])["state"] == "completed")


def test_of_an_instance_that_is_killed_another_one_goes_on(env: dict[str, str], tmp_path: Path):
    folder = tmp_path / "two"
    folder.mkdir()
    with two_behind_nginx({**env, "SHOP_MONGO_DB": f"{env['SHOP_MONGO_DB']}-import"}, folder) as (front, instances):
        headers = {"Authorization": f"Bearer {token_of(front.url, *ADMIN)}"}
        with httpx.Client(base_url=front.url, timeout=60, headers=headers) as client, ThreadPoolExecutor():
            response = client.post("/products/import", content=lines(ROWS, "p"), headers=JSONL)
            import_id = str(response.json()["import_id"])
            wait_until(lambda: int(str(job_of(client, import_id)["created"])) > 0)
            [running] = [instance for instance in instances if instance.logged("import")]
            [other] = [instance for instance in instances if instance is not running]
            running.kill()
            assert job_of(client, import_id)["state"] == "running"
            wait_until(lambda: job_of(client, import_id)["state"] == "completed")
            assert [line["step"] for line in other.logged("import")] == ["goes on"]
            job = job_of(client, import_id)
            assert [job[name] for name in ("created", "updated", "unchanged", "rejected")] == [ROWS, 0, 0, 0]
            ids = [f"p-{n:06}" for n in (*range(0, ROWS, ROWS // 20), ROWS - 1)]
            assert {client.get(f"/products/{id_}").status_code for id_ in ids} == {200}

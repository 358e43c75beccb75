"""Swagger UI and the home page, as a person finds them in a browser."""

import os
import re
import shlex
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from support.chromium import chromium, skip_or_fail
from support.factories import PASSWORD
from support.processes import serving

pytestmark = pytest.mark.long

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
ADMIN = "root"
TO_FILL_IN = {
    "refresh_session",
    "verify_email",
    "reset_password",
    "request_verification",
    "change_password",
    "end_session",
    "import_products",
    "get_import",
    "cancel_import",
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def shop(tab, engines, tmp_path_factory):
    """The address of a service with nothing in it but an admin."""
    empty = engines.model_copy(update={"mongo_db": f"test-{uuid.uuid4().hex[:12]}"})
    with serving(empty, tmp_path_factory.mktemp("shop"), admin=(ADMIN, PASSWORD)) as url:
        yield url


def keep(tab, name):
    """Where pages are to be shown in docs/, a picture of this one: `make screenshots`."""
    if folder := os.environ.get("SHOP_TEST_SCREENSHOTS"):
        tab.screenshot(Path(folder) / name)


class SwaggerUi:
    def __init__(self, tab, url, place=""):
        self.tab = tab
        tab.look(1200, 960)
        tab.complaints.clear()
        tab.requested.clear()
        tab.open(f"{url}/docs{place}")
        tab.wait_for("document.querySelectorAll('.opblock').length > 5")

    def each_operation(self):
        """All operations in their order. Only those of one tag are shown at a time: it is slow to draw them all."""
        tags = self.tab.run("[...document.querySelectorAll('.opblock-tag')].map(tag => tag.id)")
        for tag in tags:
            self.tab.click(f"#{tag}")
        for tag in tags:
            self.tab.click(f"#{tag}")
            self.tab.wait_for("!!document.querySelector('.opblock')")
            yield from self.tab.run("[...document.querySelectorAll('.opblock')].map(block => block.id)")
            self.tab.click(f"#{tag}")

    def authorize(self):
        self.tab.click(".btn.authorize")
        self.tab.type("#oauth_username", ADMIN)
        self.tab.type("#oauth_password", PASSWORD)
        self.tab.click(".auth-btn-wrapper .authorize")
        self.tab.wait_for("document.querySelector('.auth-btn-wrapper .authorize')?.textContent === 'Logout'")
        self.tab.click(".btn-done")

    def execute(self, block):
        """Opens an operation, tries it as it stands there, and leaves it open; its status and what it answered."""
        if not self.tab.run(f"!!document.querySelector('#{block} .opblock-body')"):
            self.tab.click(f"#{block} .opblock-summary-control")
        self.tab.click(f"#{block} .try-out__btn")
        self.tab.click(f"#{block} .execute")
        live = f"document.querySelector('#{block} .live-responses-table tbody')"
        self.tab.wait_for(f"/^\\d/.test({live}?.querySelector('.response-col_status')?.textContent)")
        return int(self.tab.run(f"parseInt({live}.querySelector('.response-col_status').textContent)")), self.tab.run(
            f"{live}.textContent"
        )

    def close(self, block):
        self.tab.click(f"#{block} .opblock-summary-control")


class TestSwaggerUi:
    def test_a_person_signs_in_with_authorize_and_every_example_succeeds_from_top_to_bottom(self, tab, shop):
        page = SwaggerUi(tab, shop)
        keep(tab, "swagger-ui.png")
        page.authorize()
        answers = {}
        for block in page.each_operation():
            name = block.rpartition("-")[2]
            if name in TO_FILL_IN:
                continue
            answers[name] = page.execute(block)
            if name == "add_product":
                tab.look(1200, 700)
                tab.run(f"document.querySelector('#{block} .live-responses-table').scrollIntoView()")
                keep(tab, "swagger-ui-product.png")
            page.close(block)
        assert {name: answer for name, answer in answers.items() if answer[0] >= 300} == {}
        assert answers["add_product"][0] == 201
        assert '"product_id": "tea-assam-250"' in answers["add_product"][1]
        assert {address for address in tab.requested if not address.startswith((shop, "data:"))} == set()
        assert tab.complaints == []

    def test_an_example_that_has_to_be_filled_in_says_so(self, tab, shop):
        document = httpx.get(f"{shop}/openapi.json").json()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        told = {it["operationId"]: " ".join(it["description"].split()) for it in operations}
        assert {name for name, description in told.items() if "To try it, " in description} == TO_FILL_IN

    def test_a_link_leads_to_one_operation(self, tab, shop):
        SwaggerUi(tab, shop, "#/Products/patch_product")
        tab.wait_for("!!document.querySelector('#operations-Products-patch_product .opblock-body')")
        assert tab.run("document.querySelectorAll('.opblock-body').length") == 1

    def test_the_document_can_be_downloaded(self, tab, shop):
        SwaggerUi(tab, shop)
        link = tab.run("document.querySelector('.info a').href")
        assert link == f"{shop}/openapi.json"
        assert tab.run(f"fetch('{link}').then(answer => answer.json()).then(it => it.openapi)").startswith("3.1")


class TestHome:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("path", ["/", "/problems/version_conflict"])
    def test_is_accessible(self, tab, shop, scheme, path):
        if not AXE.exists():
            skip_or_fail("axe-core is not installed here: `make test` does it, with npm")
        tab.look(900, 860, scheme=scheme)
        tab.open(shop + path)
        dark = tab.run("getComputedStyle(document.body).backgroundColor") not in (
            "rgb(255, 255, 255)",
            "rgba(0, 0, 0, 0)",
        )
        assert dark == (scheme == "dark") or path != "/"
        # Evaluated by the debugger, which the page's policy does not bind; all the page's own scripts are refused.
        tab.run(AXE.read_text() + ";0")
        found = tab.run("axe.run().then(({violations, passes}) => ({violations, passed: passes.length}))")
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
        assert found["passed"] > 5
        if path == "/":
            keep(tab, f"home-{scheme}.png")

    def test_works_without_scripts_and_breaks_no_policy(self, tab, shop):
        tab.look(900, 860, script=False)
        tab.complaints.clear()
        tab.open(f"{shop}/")
        assert tab.run("document.querySelector('.health').textContent") == "Healthy"
        assert tab.run("document.querySelectorAll('script').length") == 0
        assert tab.run("document.querySelector('.health').offsetWidth < 200")  # the style is applied
        assert tab.complaints == []
        tab.look(900, 860)

    def test_its_lines_work_when_copied_into_a_terminal(self, tab, shop):
        tab.open(f"{shop}/")
        lines = tab.run("[...document.querySelectorAll('pre')].map(line => line.innerText)")
        assert len(lines) == 3
        for line in lines:
            assert shop in line
            words = shlex.split(line)
            assert words[0] == "curl"
            done = subprocess.run([*words, "--fail-with-body", "--silent"], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
        assert re.search(r'"access_token":"\S+"', done.stdout)

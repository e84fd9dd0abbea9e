"""axe-core, run inside a page."""

from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"

# Run as the debugger, so that the page's Content-Security-Policy stays as it is.
_RUN = """async () => {
    // Off by default, as a rule of WCAG 2.2: what is pressed is 24 pixels high and wide, or stands alone.
    const rules = {"target-size": {enabled: true}};
    const found = await axe.run(document, {resultTypes: ["violations"], rules});
    return found.violations.map(({id, impact, help, nodes}) =>
        ({id, impact, help, nodes: nodes.map(({html, failureSummary}) => ({html, failureSummary}))}));
}"""


@cache
def _axe_source() -> str:
    assert AXE.exists(), "axe-core is not installed: run `make node_modules/.ready-dev`, which `make test` does too."
    return AXE.read_text(encoding="utf-8")


async def check_accessibility(page: Page) -> None:
    """Fail with the elements that have a serious or critical finding."""
    await page.evaluate(_axe_source())
    findings = await page.evaluate(_RUN)
    grave = [finding for finding in findings if finding["impact"] in {"serious", "critical"}]
    assert not grave, f"axe found in {page.url}:\n" + "\n".join(_describe(finding) for finding in grave)


def _describe(finding: dict[str, Any]) -> str:
    nodes = [f"  {node['html']}\n    {node['failureSummary']}" for node in finding["nodes"]]
    return "\n".join([f"{finding['impact']}: {finding['id']} - {finding['help']}", *nodes])

"""A page as a person meets it, in a real Chromium: light, dark, on a phone; and what must hold of every page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES: Final = Path(__file__).parents[2] / "docs" / "pages"
MOST_BYTES: Final = 150_000  # of a picture
WAYS: Final[dict[str, dict[str, Any]]] = {
    "light": {"viewport": {"width": 1160, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1160, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}
_GRAVE: Final = ("serious", "critical")


@dataclass
class Look:
    """One page, opened in one way. What the browser complains of is kept as it comes."""

    page: Page
    way: str
    pictures: bool
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, browser: Browser, base: str, way: str, *, scripts: bool = True, pictures: bool = False) -> Look:
        context = browser.new_context(base_url=base, java_script_enabled=scripts, reduced_motion="reduce", **WAYS[way])
        look = cls(context.new_page(), way, pictures)
        look.page.set_default_timeout(60_000)  # the machine may be busy
        look.page.on("console", lambda said: look._note(said.text) if said.type in ("error", "warning") else None)
        look.page.on("pageerror", lambda error: look._note(str(error)))
        look.page.on("dialog", lambda dialog: (look._note(f"dialog: {dialog.message}"), dialog.dismiss()))
        return look

    def open(self, path: str) -> Page:
        answer = self.page.goto(path, wait_until="load")
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return self.page

    def assert_sound(self) -> None:
        """Nothing that axe finds serious, nothing that the browser complains of (its policy included), and nothing
        that makes the page wider than the screen."""
        assert self.complaints == []
        assert self._grave() == []
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert self.page.evaluate(wide) <= 0, f"the page is wider than the screen ({self.way})"

    def picture(self, name: str, begin: str = "body") -> None:
        """With --screenshots: docs/pages/NAME-WAY.png, a screen of the page from where the selector `begin` finds
        something; of a phone, two screens."""
        if self.pictures:
            PICTURES.mkdir(exist_ok=True)
            path = PICTURES / f"{name}-{self.way}.png"
            width, height = (self.page.viewport_size or {}).values()
            whole = self.page.evaluate("document.documentElement.scrollHeight")
            box = self.page.locator(begin).first.bounding_box()
            assert box is not None
            top = max(0, box["y"] - (16 if begin != "body" else 0))
            tall = min(whole - top, height * (2 if self.way == "phone" else 1))
            clip = {"x": 0, "y": top, "width": width, "height": tall}
            self.page.screenshot(path=path, full_page=True, clip=clip, animations="disabled")
            assert path.stat().st_size < MOST_BYTES, f"{path.name} has {path.stat().st_size} bytes"

    def close(self) -> None:
        self.page.context.close()

    def _note(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def _grave(self) -> list[str]:
        # In the dark only the colours are others.
        rules = {"runOnly": ["color-contrast"]} if self.way == "dark" else {}
        found = Axe().run(self.page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        return [
            f"{one['impact']}: {one['help']} at {', '.join(str(node['target']) for node in one['nodes'][:5])}"
            for one in found
            if one["impact"] in _GRAVE
        ]

# Opens a file in Chromium and prints what happened as JSON.
import json, sys
from playwright.sync_api import sync_playwright
file, axe, chromium, screenshots = sys.argv[1:5]
seen = {"console": [], "requests": [], "dialogs": 0, "violations": []}
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    for scheme in ["light", "dark"]:
        for width in [360, 1280]:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            page.on("console", lambda it: seen["console"].append(it.text))
            page.on("pageerror", lambda it: seen["console"].append(str(it)))
            page.on("request", lambda it: seen["requests"].append(it.url))
            page.on("dialog", lambda it: (seen.__setitem__("dialogs", seen["dialogs"] + 1), it.dismiss()))
            page.goto("file://" + file)
            wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            seen.setdefault("wide", []).append(wide)
            seen["hacked"] = page.evaluate("window.hacked")
            # What a spreadsheet would take for a formula, or for another cell.
            cells = "[...document.querySelectorAll('figure tbody th')].map(textOf)"
            seen["formulas"] = page.evaluate(cells + ".filter((it) => /^[-=+@]/.test(it) || /[\\t\\n\\r]/.test(it))")
            if width == 1280 and scheme == "light":
                page.locator("details summary").first.click()
                page.locator("button.copy").first.click()
                seen["copied"] = page.locator("button.copy + span").first.text_content()
                rows = page.locator("#oldest tbody tr")
                if rows.count():
                    first = rows.first.locator("th").text_content()
                    page.locator("input.filter").fill(first)
                    seen["filtered"] = [rows.nth(i).is_visible() for i in range(rows.count())].count(True)
                    page.locator("input.filter").fill("")
                page.evaluate("for (const it of document.querySelectorAll('details')) it.open = false")
            if screenshots:
                page.screenshot(path=f"{screenshots}/{scheme}-{width}.png", full_page=True)
            if axe:
                # The page allows no script but its own.
                context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
                checked = context.new_page()
                checked.goto("file://" + file)
                checked.add_script_tag(path=axe)
                found = checked.evaluate("axe.run()")["violations"]
                seen["violations"] += [f"{it['impact']} {it['id']}: {it['nodes'][0]['html'][:200]}" for it in found if it["impact"] in ("serious", "critical")]
    if screenshots:
        page.emulate_media(media="print", color_scheme="light")
        page.pdf(path=f"{screenshots}/print.pdf", format="A4")
    browser.close()
print(json.dumps(seen))

"""The pages at `/`: jobs as they run, their texts, the decoders. Made here, from the same values as the API's answers.

    a request ──▶ visitors (who looks) ──▶ a route ──▶ shell.render(a template of templates/) ──▶ HTML
                                              └── an error ──▶ problem_page
    live: a page listens to Server-Sent Events, and asks for the part of itself that has changed

Each page reads without JavaScript; htmx only keeps it up to date. Nothing is loaded from elsewhere, and no script or
style stands in a page (shell.POLICY). A template escapes whatever it shows.
"""

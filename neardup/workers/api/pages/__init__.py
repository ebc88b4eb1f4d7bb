"""The pages: server-rendered with Jinja2, plain ES modules below `static`, no build step, nothing from elsewhere.

A page is a module here with a `router` of its own, listed in ROUTERS, and a template that extends `base.html`. The
content security policy allows no inline script or style: put them into files below `static/`. `render.render`
gives a template `caller` (name and role, None before somebody logs in); a page that needs a role calls
`render.needs_login` first, and is listed with it in `render.NAV`.
"""

from __future__ import annotations

from neardup.workers.api.pages import clusters, docs, login, ops, review, search
from neardup.workers.api.pages.render import STATIC as STATIC
from neardup.workers.api.pages.render import problem_page as problem_page

ROUTERS = [login.router, docs.router, search.router, review.router, clusters.router, ops.router]
"""What `app` includes; a page adds its own."""

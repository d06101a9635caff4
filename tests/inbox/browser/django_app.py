"""A web application with Django: somebody asks it for a new password.

Run it with the path of an e-mail back end, and host and port of a server.
"""

from __future__ import annotations

import sys

import django
from django import conf

HTML = """{% autoescape on %}<!DOCTYPE html>
<html><head><style>
body{margin:0;background:#f2f4f3}
.card{max-width:520px;margin:32px auto;padding:36px 40px;background:#fff;
  border-radius:14px;font:16px/1.6 Inter,Helvetica,Arial,sans-serif;color:#23302a}
h1{margin:0 0 12px;font-size:24px;letter-spacing:-.02em}
.button{display:inline-block;margin:12px 0;padding:12px 22px;border-radius:9px;
  background:#0c6b4f;color:#fff;text-decoration:none;font-weight:600}
.small{color:#69756f;font-size:13px}
@media(max-width:500px){.card{margin:0;border-radius:0;padding:28px 22px}}
</style></head><body><div class="card">
<h1>A new password</h1>
<p>Hello {{ user.get_username }}, somebody asked for a new password for your account
at {{ site_name }}. If that was you, choose one now:</p>
<p><a class="button"
  href="{{ protocol }}://{{ domain }}{% url 'password_reset_confirm' uidb64=uid token=token %}"
  >Choose a password</a></p>
<p class="small">The link works for three days. If you did not ask, do nothing.</p>
<img src="https://metrics.example.net/open.gif?user={{ uid }}" width="1" height="1">
</div></body></html>{% endautoescape %}"""  # noqa: E501 - a link is one line


def configure(backend: str, host: str, port: int) -> None:
    conf.settings.configure(
        EMAIL_BACKEND=backend,
        EMAIL_HOST=host,
        EMAIL_PORT=port,
        DEFAULT_FROM_EMAIL="Fern & Field <accounts@shop.example.com>",
        SECRET_KEY="not a secret",
        ROOT_URLCONF="django.contrib.auth.urls",
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
        ],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [
                        (
                            "django.template.loaders.locmem.Loader",
                            {"reset.html": HTML},
                        ),
                        "django.template.loaders.app_directories.Loader",
                    ]
                },
            }
        ],
    )
    django.setup()


def ask_for_a_password() -> None:
    from django.contrib.auth.forms import PasswordResetForm  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", "auth", verbosity=0)
    User.objects.create_user("ann", "ann@example.com", "forgotten")
    form = PasswordResetForm({"email": "ann@example.com"})
    assert form.is_valid()
    form.save(
        domain_override="shop.example.com",
        use_https=True,
        html_email_template_name="reset.html",
    )


if __name__ == "__main__":
    configure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    ask_for_a_password()

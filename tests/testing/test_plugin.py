"""The plugin for pytest, as a suite of somebody else uses it."""

from __future__ import annotations

import os
import textwrap
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ("pytester",)

PREAMBLE = """
import pytest, smtpx

def send(server, *to, **more):
    return smtpx.send(
        b"Subject: hi\\r\\n\\r\\nhello\\r\\n", to=server.url, sender="ann@a.test",
        recipients=to or ["bob@b.test"], **more)
"""


@pytest.fixture
def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Run a test file in a process of its own, with this plugin and no other."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\n"
        "addopts = --strict-markers --strict-config -p no:cacheprovider"
    )

    def run_it(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=PREAMBLE + textwrap.dedent(source))
        return pytester.runpytest_subprocess(
            "-p", "smtpx.testing.plugin", *arguments, timeout=300
        )

    return run_it


@pytest.mark.parametrize("named", [(), ("-p", "smtpx.testing.plugin")])
def test_it_is_there_when_smtpx_is_installed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...]
) -> None:
    """By its entry point alone, and if somebody names it besides."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    points = project["project"]["entry-points"]["pytest11"]
    installed = pytester.mkdir("installed")
    about = installed / "smtpx_as_installed-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: smtpx-as-installed\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    monkeypatch.setenv("PYTHONPATH", f"{installed}{os.pathsep}{ROOT / 'src'}")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile("def test_it(mail_server): assert mail_server.port")
    result = pytester.runpytest_subprocess(*named, timeout=300)
    result.assert_outcomes(passed=1)


def test_servers_and_inboxes(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        def test_first(mail_server, mail_inbox):
            assert mail_server.inbox is mail_inbox
            send(mail_server)
            mail = mail_inbox.assert_sent(to="bob@b.test", subject="hi", text="hello")
            assert mail.octets == b"Subject: hi\\r\\n\\r\\nhello\\r\\n"
            assert mail.tls is None and mail.user is None

        def test_each_test_has_its_own(mail_server):
            assert len(mail_server.inbox) == 0

        def test_more_of_them(mail_server, make_mail_server):
            other = make_mail_server(lmtp=True, refuse={"rcpt x@*": 550})
            assert other.port != mail_server.port
            with smtpx.LMTPClient(other.url) as client:
                result = client.send(
                    b"\\r\\n", sender="a@a.test", recipients=["x@b.test", "y@b.test"])
            assert [one.recipient for one in result.refused] == ["x@b.test"]
            assert other.inbox[0].protocol == "LMTP"
            assert len(mail_server.inbox) == 0

        SEEN = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_a_shared_one_begins_empty(
            shared_mail_server, mail_server_session, number
        ):
            SEEN.append(shared_mail_server)
            assert SEEN[0] is shared_mail_server is mail_server_session
            assert len(shared_mail_server.inbox) == 0
            send(shared_mail_server)
            shared_mail_server.refuse("mail")
        """
    )
    result.assert_outcomes(passed=5)


def test_a_suite_says_what_kind_it_shares(
    run: Callable[..., pytest.RunResult],
) -> None:
    result = run(
        """
        from smtpx.testing.mail_server import MailServerOptions

        @pytest.fixture(scope="session")
        def mail_server_options():
            return MailServerOptions(
                implicit_tls=True, auth={"ann": "secret"}, refuse={"rcpt x@*": 550})

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(shared_mail_server, mail_certificates, number):
            options = smtpx.ClientOptions(tls_context=mail_certificates.client)
            result = send(shared_mail_server, "x@b.test", "y@b.test",
                          auth=("ann", "secret"), client_options=options)
            assert [one.recipient for one in result.refused] == ["x@b.test"]
            shared_mail_server.inbox.assert_sent(count=1, user="ann", tls=True)
        """
    )
    result.assert_outcomes(passed=2)


def test_markers(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import ssl

        @pytest.mark.mail_server(auth={"ann": "secret"}, require_auth=True)
        class TestSubmission:
            def test_users(self, mail_server):
                send(mail_server, auth=("ann", "secret"))
                mail_server.inbox.assert_sent(user="ann", tls=False)

            @pytest.mark.mail_server(tls=True, require_tls=True)
            def test_the_nearer_marker_adds(
                self, mail_server, mail_certificates, mail_authority_file
            ):
                assert mail_server.certificates is mail_certificates
                context = ssl.create_default_context(cafile=mail_authority_file)
                send(mail_server, auth=("ann", "secret"),
                     client_options=smtpx.ClientOptions(tls_context=context))
                mail_server.inbox.assert_sent(user="ann", tls=True)

            @pytest.mark.mail_server(auth={"bob": "x"})
            def test_the_nearer_marker_wins(self, mail_server):
                send(mail_server, auth=("bob", "x"))
                with pytest.raises(smtpx.AuthenticationFailed):
                    send(mail_server, auth=("ann", "secret"))
        """
    )
    result.assert_outcomes(passed=3)


def test_a_marker_that_nobody_understands(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        @pytest.mark.mail_server(tsl=True)
        def test_misspelt(mail_server):
            pass

        @pytest.mark.mail_server("tls")
        def test_by_position(mail_server):
            pass

        @pytest.mark.mail_server(refuse={"rctp": 550})
        def test_no_such_stage(mail_server):
            pass
        """
    )
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            "*does not know tsl: give arguments by name, of tls, implicit_tls, *",
            "*does not know tls: give arguments by name*",
            "*no stage 'rctp': there are connect*",
        ]
    )


def test_failures_are_readable(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        def test_it(mail_server):
            send(mail_server)
            mail_server.inbox.assert_sent(to="eve@b.test", subject="hi")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * a message with to='eve@b.test', subject='hi' should have been sent",
            "E * 1 message came:",
            "E *   1. <ann@a.test> to bob@b.test: 'hi'",
            "E *        it went to bob@b.test",
        ]
    )


def test_scripts_zones_and_transcripts(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        '''
        SCRIPT = """\\
        # a server that is closing down
        S: 421 mx.test not now
        == CLOSE ==
        """

        def test_script(make_mail_script):
            server = make_mail_script(SCRIPT)
            with pytest.raises(smtpx.SendError, match="not now"):
                with smtpx.Client(f"smtp+plain://127.0.0.1:{server.port}"):
                    pass

        def test_script_that_is_not_kept(make_mail_script):
            server = make_mail_script("# x\\nS: 220 mx\\nC: HELO x\\nS: 250 mx\\n")
            with pytest.raises(smtpx.SendError):
                smtpx.Client(f"smtp+plain://127.0.0.1:{server.port}").connect()

        def test_zone(make_mail_zone):
            from smtpx.net.records import DNSRecordResolver, ResolverOptions
            import asyncio
            zone = make_mail_zone({"b.test": [("MX", "10 mx.b.test")]})
            options = ResolverOptions(nameservers=(zone.address,))
            found = asyncio.run(DNSRecordResolver(options).mx("b.test"))
            assert [one.host for one in found.records] == ["mx.b.test"]
            assert zone.questions == [("b.test", "MX")]

        PLAY = """\\
        # STARTTLS
        with hostname=mx.test tls
        for server
        S: 220 mx.test *
        C: EHLO c.test
        S: 250-* (more)
        C: STARTTLS
        S: 220 2.0.0 *
        == TLS ==
        C: NOOP
        S: 250 *
        """

        def test_transcript(play_mail_transcript, tmp_path):
            assert "asyncio" in play_mail_transcript(PLAY)
            (tmp_path / "x.txt").write_text(PLAY)
            assert play_mail_transcript(tmp_path / "x.txt")

        def test_transcript_that_is_not_kept(play_mail_transcript):
            play_mail_transcript("# x\\nS: 220 *\\nC: NOOP\\nS: 550 *\\n")

        class Polite(smtpx.Session):
            async def connected(self):
                return smtpx.Reply(220, None, "how do you do")

        def test_a_session_of_mine(play_mail_transcript):
            script = "# x\\nS: 220 * how do you do\\nC: NOOP\\nS: 250 *\\n"
            options = smtpx.ServerOptions(hostname="other.test")
            assert play_mail_transcript(script, session=Polite) == ("session",)
            play_mail_transcript(script, session=Polite, options=options)
            play_mail_transcript(PLAY, session=smtpx.Session)

        def test_a_server_of_mine(play_mail_transcript, make_mail_server):
            server = make_mail_server(tls=True)
            script = PLAY.replace("with hostname=mx.test tls\\n", "")
            script = script.replace("mx.test", "mail.test")
            address = f"{server.host}:{server.port}"
            assert play_mail_transcript(script, address=address) == ("address",)

        @pytest.mark.parametrize("more", [
            {"options": smtpx.ServerOptions()}, {"session": Polite, "address": "x:1"}])
        def test_what_makes_no_sense(play_mail_transcript, more):
            with pytest.raises(TypeError, match="give a session"):
                play_mail_transcript(PLAY, **more)
        '''
    )
    result.assert_outcomes(passed=8, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*TranscriptMismatch*", "*TranscriptMismatch*"], consecutive=False
    )


def test_the_plugin_alone_loads_nothing(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import sys
        LOADED = {name for name in sys.modules if name.startswith("smtpx.")}

        def test_it():
            assert LOADED == {"smtpx.testing", "smtpx.testing.plugin"}
            assert not {"trustme", "asyncio", "dns"} & {*sys.modules}
        """
    )
    result.assert_outcomes(passed=1)


def test_without_trustme(run: Callable[..., pytest.RunResult]) -> None:
    result = run(
        """
        import sys
        sys.modules["trustme"] = None

        def test_plain(mail_server):
            send(mail_server)

        @pytest.mark.mail_server(tls=True)
        def test_tls(mail_server):
            pass
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*TLS in tests needs trustme: pip install 'smtpx?tes*"]
    )


def test_the_marker_is_listed(run: Callable[..., pytest.RunResult]) -> None:
    result = run("", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.mail_server(tls, implicit_tls, *"])


def test_several_processes(run: Callable[..., pytest.RunResult]) -> None:
    """Under pytest-xdist: two processes, and neither meets a server of the other."""
    result = run(
        """
        import os

        @pytest.mark.parametrize("number", range(6))
        @pytest.mark.mail_server(tls=True)
        def test_it(
            mail_server, shared_mail_server, make_mail_server, mail_certificates,
            number, tmp_path_factory,
        ):
            assert os.environ["PYTEST_XDIST_WORKER"] in {"gw0", "gw1"}
            options = smtpx.ClientOptions(tls_context=mail_certificates.client)
            send(mail_server, client_options=options)
            send(shared_mail_server)
            send(make_mail_server(lmtp=False))
            assert len(mail_server.inbox) == len(shared_mail_server.inbox) == 1
            who = os.environ["PYTEST_XDIST_WORKER"]
            folder = tmp_path_factory.getbasetemp().parent
            (folder / f"{who}-{number}").write_text(str(shared_mail_server.port))

        def test_each_process_has_one_of_its_own(tmp_path_factory, shared_mail_server):
            folder = tmp_path_factory.getbasetemp().parent
            mine = os.environ["PYTEST_XDIST_WORKER"]
            ports = {path.read_text() for path in folder.glob(f"{mine}-*")}
            assert ports <= {str(shared_mail_server.port)}
        """,
        *("-p", "xdist", "-n", "2"),
    )
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["created: 2/2 workers"])


def test_beside_other_plugins(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is installed here is loaded too, as an application's tests have it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        PREAMBLE
        + """
@pytest.mark.asyncio
async def test_it(mail_server):
    await smtpx.asend(b"\\r\\n", to=mail_server.url, sender="a@a.test",
                      recipients=["b@b.test"])
    mail_server.inbox.assert_sent(to="b@b.test")
"""
    )
    result = pytester.runpytest_subprocess(
        *("-p", "smtpx.testing.plugin", "-p", "no:cacheprovider"), timeout=300
    )
    result.assert_outcomes(passed=1)

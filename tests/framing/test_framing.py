"""DATA and BDAT framing against the naive oracle, whole and cut everywhere."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx.wire.framing import (
    BareNewline,
    DotDecoder,
    DotEncoder,
    LineNormalizer,
    encode_message,
    normalize_message,
)
from tests.false_ends import FALSE_ENDS
from tests.framing import oracle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ALPHABET = b".\r\na"
EVIL = b"MAIL FROM:<evil@x>\r\n"
POLICIES = list(BareNewline)
policies = pytest.mark.parametrize("policy", POLICIES)

Result = tuple[bytes, int, bool, bool]


def inputs(longest: int) -> Iterator[bytes]:
    for length in range(longest + 1):
        for octets in itertools.product(ALPHABET, repeat=length):
            yield bytes(octets)


def octet_by_octet(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def play(policy: BareNewline, pieces: Iterable[bytes]) -> Result:
    """Decode until the end, as a server does; what is behind the end is not fed."""
    decoder = DotDecoder(policy)
    content, consumed, is_end = b"", 0, False
    for piece in pieces:
        found, taken, is_end = decoder.decode(piece)
        content += found
        consumed += taken
        if is_end:
            break
        assert taken == len(piece)
    return content, consumed, is_end, decoder.has_bare_newline


def expect(policy: BareNewline, data: bytes) -> Result:
    """Say what the oracle makes of it."""
    content, consumed, is_end = oracle.decode(data)
    if not is_end and data.endswith(b"\r"):
        content = content.removesuffix(b"\r")  # held back
    is_bare = policy is not BareNewline.ACCEPT and oracle.has_bare_newline(content)
    if policy is BareNewline.NORMALIZE:
        content = oracle.normalize(content)
    return content, consumed, is_end, is_bare


# --- the oracle itself ---------------------------------------------------------------


def test_the_oracle_knows_the_specified_example() -> None:
    data = b"a\n.\n.\r\nb\r\n.\n\r\nc\r\n.\r\r\n\r\n.\r\n"
    content = b"a\n.\n.\r\nb\r\n\n\r\nc\r\n\r\r\n\r\n"
    assert oracle.decode(data + EVIL) == (content, len(data), True)


# --- every input ---------------------------------------------------------------------


@policies
def test_every_input_whole(policy: BareNewline) -> None:
    for data in inputs(8):
        assert play(policy, [data]) == expect(policy, data), data


@policies
def test_every_input_octet_by_octet(policy: BareNewline) -> None:
    longest = 8 if policy is BareNewline.REFUSE else 7
    for data in inputs(longest):
        pieces = octet_by_octet(data)
        assert play(policy, pieces) == expect(policy, data), data


@policies
def test_every_input_at_every_split_point(policy: BareNewline) -> None:
    for data in inputs(6):
        expected = expect(policy, data)
        for cut in range(1, len(data)):
            assert play(policy, [data[:cut], data[cut:]]) == expected, (data, cut)


@policies
def test_every_input_in_every_segmentation(policy: BareNewline) -> None:
    for data in inputs(5):
        expected = expect(policy, data)
        for cuts in itertools.product([False, True], repeat=max(len(data) - 1, 0)):
            places = [0, *(i for i, cut in enumerate(cuts, 1) if cut), len(data)]
            pieces = [data[a:b] for a, b in itertools.pairwise(places)]
            assert play(policy, pieces) == expected, pieces


def test_every_input_behind_other_octets() -> None:
    # The block starts somewhere in a buffer; what stands before must not matter, even
    # if it would complete a terminator.
    for data in inputs(5):
        for before in (b"x", b"\r\n", b"\r\n.", b"\r\n.\r", b"\r"):
            decoder = DotDecoder()
            content, consumed, is_end = decoder.decode(before + data, len(before))
            found = (content, consumed, is_end, decoder.has_bare_newline)
            assert found == expect(BareNewline.REFUSE, data), (before, data)


def test_every_input_continued_behind_other_octets() -> None:
    for head, data in itertools.product(inputs(4), inputs(3)):
        decoder = DotDecoder()
        content, consumed, is_end = decoder.decode(head)
        if is_end:
            continue
        more, taken, is_end = decoder.decode(b"\r\n." + data, 3)
        found = (content + more, consumed + taken, is_end, decoder.has_bare_newline)
        assert found == expect(BareNewline.REFUSE, head + data), (head, data)


@policies
@given(
    data=st.lists(
        st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"\r\n.", b"\0", b"\xff", b"ab"])
    ).map(b"".join),
    cuts=st.lists(st.integers(0, 60)),
)
def test_any_input_in_any_segmentation(
    policy: BareNewline, data: bytes, cuts: list[int]
) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert play(policy, pieces) == expect(policy, data)


# --- ends that are none --------------------------------------------------------------


@policies
@pytest.mark.parametrize("fake", FALSE_ENDS)
@pytest.mark.parametrize("before", [b"x", b"", b"x\r\n"])
def test_fake_ends(policy: BareNewline, fake: bytes, before: bytes) -> None:
    data = before + fake + EVIL + b"y\r\n.\r\n"
    if before == b"" and fake.startswith(b"\r\n."):
        # Right behind the CR LF of the command, CR LF is an empty line.
        assert oracle.decode(data)[0].startswith(b"\r\n")
    content, consumed, is_end, has_bare = play(policy, [data + b"QUIT\r\n"])
    assert (consumed, is_end) == (len(data), True)
    assert EVIL in content
    assert (content, consumed, is_end, has_bare) == expect(policy, data)
    for cut in range(1, len(data)):
        assert play(policy, [data[:cut], data[cut:]])[:3] == (content, consumed, True)
    assert play(policy, octet_by_octet(data)) == (content, consumed, True, has_bare)
    # What is bare in the fake end is seen, or left, or mended.
    is_bare = oracle.has_bare_newline(fake + b"x")
    if policy is BareNewline.ACCEPT:
        assert not has_bare
        assert oracle.has_bare_newline(content) is is_bare
    else:
        assert has_bare is is_bare
        assert oracle.has_bare_newline(content) is (
            is_bare and policy is BareNewline.REFUSE
        )


@policies
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..x\r\n.\r\n", b".x\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"a\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n"),
    ],
)
def test_clean_messages(policy: BareNewline, data: bytes, content: bytes) -> None:
    expected = (content, len(data), True, False)
    assert play(policy, [data + EVIL]) == expected
    assert play(policy, [data]) == expected
    assert play(policy, octet_by_octet(data)) == expected


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"x\r\r\n.\r\n", b"x\r\r\n"),
        (
            b"a\n.\n.\r\nb\r\n.\n\r\nc\r\n.\r\r\n\r\n.\r\n",
            b"a\n.\n.\r\nb\r\n\n\r\nc\r\n\r\r\n\r\n",
        ),
    ],
)
def test_unclean_messages(data: bytes, content: bytes) -> None:
    for pieces in ([data], [data + EVIL], octet_by_octet(data)):
        for policy, expected in (
            (BareNewline.ACCEPT, (content, len(data), True, False)),
            (BareNewline.REFUSE, (content, len(data), True, True)),
            (BareNewline.NORMALIZE, (oracle.normalize(content), len(data), True, True)),
        ):
            assert play(policy, pieces) == expected


@pytest.mark.parametrize("data", [b"", b"abc\r\n.", b"abc\r\n.\r", b"abc\r\n", b"."])
def test_data_cut_off_has_no_end(data: bytes) -> None:
    assert not play(BareNewline.REFUSE, [data])[2]


def test_at_most_one_octet_of_content_is_held_back() -> None:
    for data in inputs(6):
        for policy in (BareNewline.REFUSE, BareNewline.ACCEPT):
            content = play(policy, octet_by_octet(data))[0]
            assert len(oracle.decode(data)[0]) - len(content) <= 1, data


def test_a_clean_block_is_given_out_without_a_copy() -> None:
    block = b"x" * 70 + b"\r\n"
    decoder = DotDecoder()
    assert decoder.decode(block)[0] is block
    assert decoder.decode(block)[0] is block


def test_a_finished_decoder_refuses_to_go_on() -> None:
    decoder = DotDecoder()
    assert decoder.decode(b"a\r\n.\r\n") == (b"a\r\n", 6, True)
    for data in (b"", b"a", b".\r\n"):
        with pytest.raises(RuntimeError, match="has ended"):
            decoder.decode(data)


def test_an_empty_block_changes_nothing() -> None:
    for data in inputs(4):
        pieces: list[bytes] = [b""]
        for octet in octet_by_octet(data):
            pieces += [octet, b"", b""]
        expected = expect(BareNewline.REFUSE, data)
        assert play(BareNewline.REFUSE, pieces) == expected, data


# --- encoding ------------------------------------------------------------------------


def encode(pieces: Iterable[bytes]) -> bytes:
    encoder = DotEncoder()
    return b"".join([*map(encoder.encode, pieces), encoder.finish()])


def normalize(pieces: Iterable[bytes]) -> bytes:
    normalizer = LineNormalizer()
    return b"".join([*map(normalizer.encode, pieces), normalizer.finish()])


def test_encode_every_input_at_every_split() -> None:
    for data in inputs(7):
        encoded = oracle.encode(data)
        # The content that the server will see: the encoded lines, unstuffed.
        content, consumed, is_end = oracle.decode(encoded)
        assert (consumed, is_end) == (len(encoded), True), data
        splits = [[data], octet_by_octet(data)]
        if len(data) <= 5:
            splits += [[data[:cut], data[cut:]] for cut in range(len(data) + 1)]
        for pieces in splits:
            assert encode(pieces) == encoded, pieces
            assert normalize(pieces) == content, pieces


def test_at_once_every_input_is_what_it_is_in_pieces() -> None:
    for data in inputs(7):
        assert normalize_message(data) == normalize([data]), data
        # Of any octets: what is no line end stays, and is never taken for one.
        encoder = DotEncoder()
        known = encoder.encode_lines(data) + encoder.finish()
        assert encode_message(data) + b".\r\n" == known, data


def test_a_clean_message_is_made_ready_without_a_copy() -> None:
    data = b"one\r\n two.\r\n"
    assert normalize_message(data) is data
    assert encode_message(data) is data


@settings(max_examples=200)
@given(
    lines=st.lists(
        st.lists(st.sampled_from([b".", b"..", b"a", b"\0", b"\xe9", b" "])).map(
            b"".join
        )
    ),
    cuts=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_decode_of_encode(lines: list[bytes], cuts: tuple[int, int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    wire = encode([content])
    expected = (content, len(wire), True, False)
    low, high = sorted(cuts)
    for policy in POLICIES:
        assert play(policy, [wire + EVIL]) == expected
        pieces = [wire[:low], wire[low:high], wire[high:]]
        assert play(policy, [piece for piece in pieces if piece]) == expected
    assert encode([content[:low], content[low:high], content[high:]]) == wire
    assert normalize([content]) == content


@given(st.binary())
def test_what_is_encoded_holds_no_early_end(data: bytes) -> None:
    wire = encode([data])
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    assert oracle.decode(wire + EVIL) == (normalize([data]), len(wire), True)
    assert not oracle.has_bare_newline(wire)


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\n", b"a\r\n.\r\n"),
        (b"\r\r\n\n", b"\r\n\r\n\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\n.\n", b"a\r\n..\r\n.\r\n"),
        (b"a\r.\r", b"a\r\n..\r\n.\r\n"),
        (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    ],
)
def test_encode(data: bytes, wire: bytes) -> None:
    assert encode([data]) == wire
    assert encode(octet_by_octet(data)) == wire


def test_a_clean_block_is_encoded_without_a_copy() -> None:
    block = b"x" * 70 + b"\r\n"
    assert DotEncoder().encode(block) is block
    assert LineNormalizer().encode(block) is block


@pytest.mark.parametrize("data", [b"", b"a", b"a\r\n", b"a\r", b"."])
def test_finish_begins_a_new_message(data: bytes) -> None:
    encoder, normalizer = DotEncoder(), LineNormalizer()
    first = encoder.encode(data) + encoder.finish()
    assert encoder.encode(data) + encoder.finish() == first
    first = normalizer.encode(data) + normalizer.finish()
    assert normalizer.encode(data) + normalizer.finish() == first

"""What stands in journals that were written is read, found and verified for ever: digests, tags, keys, sealed bodies.

Whoever changes one of these has made another format: it needs a step of migration, and a new number.
"""

import zlib
from hashlib import sha256

from plimsoll.core.events import GENESIS
from plimsoll.journal.checkpoints import Leaf, checkpoint_after, parse_checkpoint
from plimsoll.journal.codec import opened, readable
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.keys import WrappedKey
from plimsoll.journal.messages import Message, message_link
from plimsoll.journal.signing import verify
from plimsoll.journal.trail import ActKind, Mark, act_after
from tests.journal.signing import SIGNER

ENGAGED = bytes.fromhex("a6953f881d7da3259a46ff25098b4d485ac48b36db7721a667456453a1a9eacd")
RELEASED = bytes.fromhex("8edf0cd5747ae5826e59f37e93e40d49d8cbe5056cf772fa68fb325da4186935")
MESSAGE = bytes.fromhex("6788d0b2e898c79f091f3ab1270784631d89d28ee920c867bda252984f63356a")
KEY = WrappedKey(
    "ef0307d8",
    bytes.fromhex(
        "b48313b29ecbd2bfeef49b24b8935372a18f640fadeab2e50604cdfae5bc5aea04b3696853b6bbf33677ab21514ca8e1b282615dad2f13"
        "879c6d75af"
    ),
)
TAG = "0b481facbbdfbe508ef1ac8315eaa56bad4e7c94bb33042d806fd7a4ef98cd1f"
SEALED = bytes.fromhex(
    "02000000237b226b6579223a226b222c2274797065223a2276616c75655f7265636f72646564227d9dbeb84fd47ed83a875de1206363e9bb39"
    "7722dec2d4844e0e0c3ccb1d6f2404a5df90d15cb2db20ccf3a715b4c6"
)
CHECKPOINT = (
    b'{"acts":{"count":1,"digest":"ppU/iB19oyWaRv8lCYtNSFrEizbbdyGmZ0VkU6Gp6s0="},"at":7.5,"inbox":{"count":0,'
    b'"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"key":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=",'
    b'"number":1,"previous":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",'
    b'"root":"K7syVZ9hA/aRuphiGZ6SJtbwYeUyQQ+ei6rYg7ssHR4=","runs":1}'
)
SIGNATURE = bytes.fromhex(
    "81aaca4e9c72acb79b54942cddc8fad0e4dcd1d855e192dc2f7f1dfb5f6c77346f0079540eac5bdcdfca5562896249d4aa551c1efd46013aa1"
    "0d6e06c36d4f0b"
)


def test_the_trail_and_the_inbox_are_linked_as_ever() -> None:
    engaged = act_after(Mark(), ActKind.ENGAGED, "*", by="ann", reason="enough", at=4.5)
    released = act_after(Mark(count=1, digest=ENGAGED), ActKind.RELEASED, "*", by="bo", reason="", at=5.5)
    assert (engaged.digest, released.digest) == (ENGAGED, RELEASED)
    assert message_link(GENESIS, 1, Message("q", "r", "decision", b'{"ok":true}', "ann", 3.5)) == MESSAGE


def test_a_checkpoint_is_signed_as_ever() -> None:
    leaf = Leaf("r", 2, bytes(range(32)))
    assert leaf.encoded == b'["r",2,"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]'
    made = checkpoint_after(SIGNER, at=7.5)(None, [leaf], Mark(count=1, digest=ENGAGED), Mark())
    assert (made.body, made.signature) == (CHECKPOINT, SIGNATURE)
    assert made.digest == sha256(b"plimsoll checkpoint\x00" + CHECKPOINT + SIGNATURE).digest()
    assert parse_checkpoint(CHECKPOINT, SIGNATURE) == made and made.signed_by(verify)


def test_a_runs_key_opens_what_it_ever_sealed() -> None:
    keys = MasterKeys([bytes(32)])
    assert keys.first == KEY.master
    key = keys.open("r", KEY)
    assert key.tag("q") == TAG
    assert opened(SEALED, key) == b'{"key":"k","type":"value_recorded","value":"secret"}'
    assert readable(SEALED) == b'{"key":"k","type":"value_recorded"}'


def test_a_compressed_body_is_zlibs_behind_a_byte() -> None:
    json = b'{"value":"' + b"word " * 2000 + b'"}'
    assert readable(b"\x01" + zlib.compress(json, 9)) == opened(b"\x01" + zlib.compress(json), None) == json

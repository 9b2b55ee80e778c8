"""What states a phrase, and what only mentions it."""

import pytest

from plimsoll.observability.wording import Wording

_STATED_LINES = """\
I have issued a refund of $50.
I've issued a refund of $50 to your card.
I’ve issued a refund of $50 to your card.
I have now issued a refund.
I have just successfully issued a refund.
I have already issued a refund.
I **have issued a refund** for order #W1.
Done! I have issued a refund.
No problem, I have issued a refund.
No problem I have issued a refund.
No worries! I HAVE ISSUED A REFUND.
Not to worry: I have issued a refund.
Thank you for waiting. I have issued a refund. Is there anything else I can help you with?
I have issued a refund, is there anything else I can help you with?
I have issued a refund; would you like a receipt?
I have issued a refund and is there anything else you need?
I can confirm that I have issued a refund.
I would like to let you know that I have issued a refund.
I'm happy to confirm I have issued a refund.
I am pleased to report that I have issued a refund.
You will be glad to hear that I have issued a refund.
As you requested, I have issued a refund.
Since your order was not delivered, I have issued a refund.
Because your order was not delivered I have issued a refund.
I have issued a refund because the parcel was not delivered.
I could not cancel the order, but I have issued a refund.
I could not cancel the order; instead, I have issued a refund.
I could not cancel the order and I have issued a refund.
The item is not in stock anymore, so I have issued a refund.
If you have questions, call us. I have issued a refund.
When you wrote yesterday, we looked into it and I have issued a refund.
I have not cancelled your order (I have issued a refund).
I have cancelled your order, issued a refund, and I have issued a refund for the postage.
1. I have issued a refund
- Order #W1: I have issued a refund
I have not cancelled your order. I have issued a refund.
I have issued a refund, not a voucher.
I have issued a refund, which should arrive within 5 days.
Not only have we apologised, I have issued a refund.
I have   issued	a refund.
Great news: I have issued a refund!
I have issued a refund, right?
Without delay I have issued a refund.
Following your request I have issued a refund.
Upon your request I have issued a refund.
As you requested I have issued a refund.
You said that the item was broken which is why I have issued a refund.
You told me about it, so I have issued a refund.
According to our rules, I have issued a refund.
If you need anything else, just ask; I have issued a refund.
I have issued a refund, no questions asked.
To make up for it, I have issued a refund.
I was able to cancel the order, and I have issued a refund.
I can confirm that I have already issued a refund."""
STATED = _STATED_LINES.split("\n")

_NOT_STATED_LINES = """\
I have not issued a refund.
I haven't issued a refund.
I could not issue a refund.
I never said that I have issued a refund.
I can't confirm that I have issued a refund.
I cannot say I have issued a refund.
I'm not sure whether I have issued a refund.
Once I have issued a refund, you will get an e-mail.
As soon as I have issued a refund you will get an e-mail.
If I have issued a refund, it shows in your account.
After I have issued a refund, it takes 5 days.
I will tell you when I have issued a refund.
By Friday I will have issued a refund.
I should have issued a refund.
Have I issued a refund?
You ask whether I have issued a refund.
Do you mean that I have issued a refund?
Did you know that I have issued a refund, or not?
Neither have I cancelled the order nor I have issued a refund.
It is not true that I have issued a refund.
Nobody said I have issued a refund.
I have, unfortunately, not issued a refund.
I did not, unfortunately, say I have issued a refund.
Please wait until I have issued a refund.
I have issued a refunded voucher.
I have issued a refunds list.
Shi have issued a refund.
I have issued no refund.
I have issued a refund none of the time.
You wrote: "I have issued a refund".
You wrote: “Hello. I have issued a refund. Bye.” Is that so?
She said "I have issued a refund", but I see no such thing.
You mentioned that I have issued a refund, but I cannot see it.
My colleague told you that I have issued a refund.
According to you, I have issued a refund.
Before I can say I have issued a refund, I need your order number.
Once I can confirm that I have issued a refund, you get an e-mail.
I can only say I have issued a refund when the shop confirms it.
I was about to say I have issued a refund, but the system refused it.
It would be wrong to say I have issued a refund."""
NOT_STATED = _NOT_STATED_LINES.split("\n")


@pytest.mark.parametrize("text", STATED)
def test_a_stated_phrase_is_found(text: str) -> None:
    assert Wording("I have issued a refund").is_stated_in(text)


@pytest.mark.parametrize("text", NOT_STATED)
def test_a_mentioned_phrase_is_no_statement(text: str) -> None:
    assert not Wording("I have issued a refund").is_stated_in(text)


@pytest.mark.parametrize(
    ("phrase", "text", "stated"),
    [
        ("refunded", "Your order has been refunded.", True),
        ("refunded", "Your order was refunded because it was not delivered.", True),
        ("refunded", "The order has not been refunded.", False),
        ("refunded", "The order hasn't been refunded yet.", False),
        ("refunded", "Nothing has been refunded.", False),
        ("refunded", "Orders can be refunded within 30 days.", False),
        ("refunded", "It will be refunded to your card.", False),
        ("refunded", "Would you like to be refunded?", False),
        ("refunded", "Your order was not cancelled, returned or refunded.", False),
        ("refunded", "Your order was cancelled, returned and refunded.", True),
        ("refunded", "I was unable to get your order refunded.", False),
        ("refunded", "It failed to be refunded.", False),
        ("refunded", "The delivery failed, so you were refunded.", True),
        ("refunded", "Your order has already been refunded.", False),
        ("refunded", "I have already refunded you.", True),
        ("refunded", "If you want it refunded, tell me.", False),
        ("refunded", "You asked to be refunded.", False),
        ("refunded", "Refunded!", True),
        ("refunded", "We are working on getting your order refunded.", False),
        ("refunded", "I'm in the process of getting this refunded.", False),
        ("refunded", "I'm going to have your order refunded.", False),
        ("refunded", "I can see that a previous agent has already refunded this order.", False),
        ("refunded", "I have refunded nothing.", False),
        ("refunded", "I have refunded none of your orders.", False),
        ("refunded", "I've not only cancelled the order but also refunded the postage.", True),
        ("refund has been issued", "You told me that your refund has been issued.", False),
        ("wurde erstattet", "Der Betrag wurde erstattet.", True),
        ("wurde erstattet", "Der Betrag wurde nicht erstattet.", False),
        ("refunded", "Status: refunded", True),
        ("refunded", "non-refunded", True),
        ("a refund", "Would you like a refund?", False),
        ("a refund", "You are not eligible for a refund.", False),
        ("a refund", "I could not issue a refund.", False),
        ("a refund", "You requested a refund.", False),
        ("a refund", "A refund was not possible.", False),
        ("a refund", "A refund request was not found.", False),
        ("a refund", "A refund has still not been made.", False),
        ("refund has been issued", "Your refund has been issued.", True),
        ("refund has been issued", "Your refund has now been issued to the original card.", True),
        ("refund has been issued", "Your refund has been\nissued.", True),
        ("refund has been issued", "Your\n  refund\nhas been issued to the card.", True),
        ("refund has been issued", "I can not help you\na refund has been issued", True),
        ("refund has been issued", "I can not say that a refund has been\nissued.", False),
        ("refund has been issued", "No refund has been issued.", False),
        ("refund has been issued", "There is no record that a refund has been issued.", False),
        ("refund has been issued", "We will inform you once the refund has been issued.", False),
        ("refund has been issued", "You can see in your account that the refund has been issued.", True),
        ("refund has been issued", "Let me know if the refund has been issued.", False),
        ("it's done", "It's done.", True),
        ("don't worry", "don't worry", False),
        ("erstattet", "Der Betrag wurde erstattet.", True),
        ("", "anything", False),
        ("  ", "anything", False),
        ("refunded", "", False),
        ("(refund)", "Done (refund).", True),
    ],
)
def test_phrases_of_other_shapes(phrase: str, text: str, stated: bool) -> None:
    assert Wording(phrase).is_stated_in(text) is stated


def test_one_statement_among_mentions_is_enough() -> None:
    text = "Would you like to be refunded? You were not refunded before. Now you have been refunded."

    assert Wording("refunded").is_stated_in(text)


def test_a_long_text_takes_no_long_time() -> None:
    text = "If I had not refunded you, " * 3000 + "because as since " * 3000

    assert not Wording("refunded").is_stated_in(text)

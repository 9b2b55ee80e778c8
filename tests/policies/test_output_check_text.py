"""What a model's text must be to count as an answer: tables of answers that must pass, and of bodies that must not."""

import pytest

from plimsoll.core.calls import Fault
from plimsoll.policies.output_check import OutputProblem, check_text

_ONE_PER_LINE = """\
Yes
No.
OK
42
$12.50
None
null
true
Error
Failed
Timeout
Unauthorized
Not found.
Forbidden
Declined
error
Paris
👍
🙂
是的
Да.
n/a
-
Sorry.
Sorry, something went wrong on our side. I have passed your case on to a colleague.
Something went wrong. Please try again later.
I'm sorry, I couldn't find an order with that number.
I'm sorry, but I cannot help with that request.
I apologize for the error in your last invoice; it has been corrected.
An error occurred while processing your refund, so I have escalated it to a person.
There was an internal server error on our payment provider's side yesterday, and it has been resolved.
The payment failed because the card has expired.
Your transfer failed: the account number is wrong. Please check it.
Error 404 means that the page you asked for does not exist.
A 502 Bad Gateway usually means that the upstream server is down.
500 Internal Server Error means that the server hit a condition it did not expect.
502 Bad Gateway is what a proxy says when the server behind it gives no valid answer.
429 Too Many Requests: this status tells a client to slow down; wait and try again.
404 Not Found is an HTTP status code.
HTTP 503 stands for Service Unavailable.
HTTP 500 errors are logged on the server.
Error code: E-17 on your dishwasher means that the drain is blocked.
Error codes starting with 4 are the client's fault.
Error code 429 tells you that you are sending too many requests.
Service unavailable on Sundays; we are open Monday to Saturday.
Too many requests came in this week, so delivery takes two days longer.
Internal server errors are what your users see when an exception is not caught.
The connection was refused because the port is closed.
Connection refused usually means that nothing listens on that port.
Rate limit exceeded is the message you get after 100 calls a minute.
Rate limits are set per key.
ValueError: raised when an argument has the right type and a wrong value.
KeyError: 'name'
TypeError: unsupported operand type(s) for +: 'int' and 'str'
The traceback shows that `config` is None.
Traceback analysis: the fault lies in line 12.
You can catch it with `except Exception as error:`.
Overloaded circuits trip the breaker; unplug one appliance.
Unauthorized purchases are refunded within 30 days.
Forbidden City tours start at 9 am.
Bad request handling is described in chapter 4.
Request timed out messages appear when the network is slow.
The model is overloaded with features, in my opinion.
The model that you chose is out of stock.
The engine is overheating; stop the car.
The server had a sense of humour and brought us dessert.
You exceeded your current step goal by 2,000 steps. Well done!
This model's maximum load is 120 kg.
Upstream of the dam, the river is calm.
Stream timeouts can be set in the proxy's configuration.
No healthy adult needs more than 400 mg of caffeine a day.
Curl: a command for transferring data.
Origin of the parcel: Rotterdam.
Panic: it is what the guide tells you not to do.
Socket hang-ups happen when the server closes early.
The origin server is in Ireland.
Your order #W2378156 failed to ship on time; the new date is May 4.
The status of your order is: failed.
Status: error. The meter needs a new battery.
Failed to load? Clear the cache and reload the page.
No errors were found in your tax return.
0 failed, 120 passed.
All 3 checks failed: name, address, date of birth.
Sorry to hear that your flight was cancelled. I have booked you on the 18:05.
I was unable to reach the warehouse; the request timed out. Shall I try again?
Unfortunately the refund was declined by your bank with the message "do not honour".
Your card ending 5028 was charged $500.
5 items, 503 points in all.
500
404
{"answer": "Paris"}
The server had an error processing your request last night; it has been healthy since.
The server is overloaded on Mondays.
Rate limit reached by lunch, as on every day.
[Errno 111] means that nothing listens at that port.
curl: (6) means that the name of the host is unknown.
openai.APITimeoutError: that is what the client raises when it has waited for too long.
Upstream request timeout means that the server behind the proxy is slow.
Upstream connect errors are rare.
The engine is currently overloaded by the trailer: drive slowly.
This model's maximum context length is 8192 tokens.
{"__type": "order", "id": "W1"}
{"error": null, "result": 5}
{"error": "", "value": [1, 2]}
{"errors": [], "data": {"user": {"id": 7}}}
{"error": false, "message": "done"}
{"error": "wrong size delivered", "category": "logistics", "severity": "high"}
{"intent": "report_error", "confidence": 0.97}
{"status": "failed", "order_id": "W2378156"}
{"status": "ok", "items": []}
{"status": 200, "message": "created"}
{"status": 500, "widgets_left": 12}
{"status": 399}
{"status": 600}
{'error': }
{'detail': 'x', 'name': }
{"success": true, "message": "refunded"}
{"success": false}
{"message": "Hello! How can I help?"}
{"detail": "The package is at the depot."}
{"code": "E42", "message": "Filter full", "advice": "Clean it"}
{"type": "error", "message": "disk full", "timestamp": "2026-01-01T00:00:00Z"}
{"url": "https://example.org/a", "status": 404}
{"path": "/a", "status": 404}
{"is_error": true}
{"error": true}
{}
[]
[1, 2, 3]
[{"name": "Ann"}, {"name": "Ben"}]
[{"error": "a"}, {"error": "b"}]
{not json at all}
[see the attached file]
{'name': 'Ann', 'error': None}
<p>Your order has shipped.</p>
<b>Error</b> is the word you are looking for.
<html><head><title>Welcome</title></head><body>Hi</body></html>
<!DOCTYPE html><html><head><title>My shop</title></head><body><h1>Sale</h1></body></html>
<!DOCTYPE html><html><head><title>404 - Page Not Found</title></head><body><a href="/">Home</a></body></html>
<svg xmlns="http://www.w3.org/2000/svg"></svg>
<3 you are welcome"""
HEALTHY = _ONE_PER_LINE.split("\n")

HEALTHY_LONG = [
    'Here is an example:\n\n```json\n{"error": {"message": "Rate limit reached", "code": 429}}\n```',
    '```json\n{"error": "not found"}\n```',
    "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    x()\nNameError: no 'x'\n\n"
    "This means that `x` was never defined. Define it above the call.",
    "Traceback (most recent call last) is the first line of a stack trace.\nIt tells you where the error was.",
    "Traceback (most recent call last):\nis printed first, then the frames, then the\nValueError: the last line",
    "There was an error\n  at the station: the wrong train was announced.\nSorry.",
    "Error handling in Go\n\n  at first you check `err`.",
    "panic: is a built-in function in Go.\nIt stops the ordinary flow of control.",
    "500 Internal Server Error\n\nThis is the most general answer a server gives when it fails.",
    "Error code: 404\n\nThis means that the page does not exist. Check the address.",
    "Your options:\n1. Retry the failed payment\n2. Use another card\n3. Cancel the order",
    "The following orders failed:\n- #1: card declined\n- #2: address unknown",
    "Sure! Here is the page:\n<html><head><title>500 Internal Server Error</title></head></html>",
    "word " * 5000,
    "Internal server error. " * 60,
    "curl: (28) " + "x" * 990,
    '{"error": "' + "x" * 20_000 + '"}',
    '{"rows": [' + ",".join(['{"error": "none"}'] * 2000) + "]}",
]

_NGINX_502 = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>"
)

ERRORS_IN_SUCCESS = [
    '{"error": {"message": "Rate limit reached for gpt-5", "type": "requests", "param": null, "code": "rate_limit"}}',
    '{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}',
    '{"error": {"message": "Internal error", "code": 500}, "user_id": "user_1"}',
    '{"error": "Internal Server Error"}',
    '{"error": "rate_limit_exceeded", "message": "slow down"}',
    '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}',
    '{"errors": [{"message": "Cannot query field"}], "data": null}',
    '{"timestamp": 1, "status": 500, "error": "Internal Server Error", "path": "/v1/chat"}',
    '{"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "no upstream"}',
    '{"status": 500}',
    '{"status": 400}',
    '{"status": 599}',
    "{'detail': 'Not Found'}",
    "{'message': 'Internal server error', 'code': None}",
    "{'type': 'error', 'error': {'message': 'Overloaded'}}",
    "{'status': 'error', 'message': 'try later', 'data': None}",
    "Error code: 500 - {'error': {\n  'message': 'boom'\n}}",
    "status_code: 500, model_name: gpt-5, body: <html>\n<h1>oops</h1>\n</html>",
    "curl: (28) " + "x" * 989,
    '{"statusCode": 429, "message": "Too many"}',
    '{"status_code": 503, "body": "down"}',
    '{"code": 500, "message": "boom"}',
    '{"ok": false, "error": "channel_not_found", "warning": "x"}',
    '{"success": false, "message": "database is down"}',
    '{"status": "error", "message": "try later"}',
    '{"message": "Internal server error"}',
    '{"message": "Endpoint request timed out"}',
    '{"message": "Too Many Requests"}',
    '{"detail": "Not Found"}',
    '{"__type": "ThrottlingException", "message": "Too many requests"}',
    '{"__type": "com.amazon.coral.availability#ThrottlingException", "Message": "slow down"}',
    '[{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}]',
    "{'error': {'message': 'The server is overloaded', 'type': 'server_error', 'code': None}}",
    '  \n{"error": {"message": "x"}}\n',
    _NGINX_502,
    "<!DOCTYPE html><html><head><title>503 Service Temporarily Unavailable</title></head></html>",
    "<!doctype html><html><head><title>shop.example | 522: Connection timed out</title></head></html>",
    "<html><body><h1>Internal Server Error</h1></body></html>",
    "<html><head><title>403 Forbidden</title></head><body><center>cloudflare</center></body></html>",
    "<html><head><title>404</title></head><body><hr><address>Apache/2.4 Server</address></body></html>",
    '<?xml version="1.0"?>\n<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>',
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>",
    "Internal Server Error",
    "internal server error.",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Time-out",
    "HTTP/1.1 500 Internal Server Error",
    "HTTP 503",
    "Error 503: Service Unavailable",
    "429 Too Many Requests",
    "404 Not Found",
    "HTTP Error 500: Internal Server Error",
    "Error: Service Unavailable",
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    "upstream request timeout",
    "no healthy upstream",
    "Error code: 429 - {'error': {'message': 'Rate limit reached', 'code': 'rate_limit_exceeded'}}",
    "Error code: 503",
    "status_code: 429, model_name: gpt-5, body: {'message': 'slow down'}",
    "status_code: 500, model_name: gpt-5, body: {\n  'message': 'x'\n}",
    "Error: Request failed with status code 502",
    "500 Server Error: Internal Server Error for url: https://api.example.com/v1/chat",
    "Server error '503 Service Unavailable' for url 'https://api.example.com/v1'",
    "HTTPSConnectionPool(host='api.example.com', port=443): Max retries exceeded with url: /v1",
    "openai.RateLimitError: Error code: 429 - too many",
    "httpx.ConnectError: All connection attempts failed",
    "litellm.exceptions.ServiceUnavailableError: OpenAIException",
    "APIConnectionError: Connection error.",
    "RateLimitError: slow down",
    "[Errno 111] Connection refused",
    "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 5432)",
    "Error: connect ECONNREFUSED 127.0.0.1:443",
    "read ECONNRESET",
    "curl: (28) Operation timed out after 30001 milliseconds",
    "fetch failed",
    "socket hang up",
    "Request timed out.",
    "Connection error.",
    "rpc error: code = Unavailable desc = connection closed",
    "14 UNAVAILABLE: No connection established",
    "<_InactiveRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE>",
    "Rate limit reached for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000",
    "Rate limit exceeded",
    "Rate limit exceeded. Please try again later.",
    "Rate limit reached, retry after 20 seconds",
    "The server is overloaded or not ready yet.",
    "The server is currently overloaded, please try again",
    "You exceeded your current quota, please check your plan and billing details.",
    "The server had an error while processing your request. Sorry about that!",
    "The model is overloaded. Please try again later.",
    "That model is currently overloaded with other requests. You can retry your request.",
    "The engine is currently overloaded, please try again later",
    "An internal error has occurred. Please retry or report in https://example.com/troubleshooting",
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    'Traceback (most recent call last):\n  File "app.py", line 3, in <module>\n    main()\nValueError: bad',
    'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g()\nbotocore.exceptions.ClientError: no',
    "java.lang.NullPointerException: x is null\n\tat com.shop.Order.get(Order.java:12)\n\t... 3 more\n"
    "Caused by: java.io.IOException: x",
    'Exception in thread "main" java.lang.IllegalStateException\n\tat Main.main(Main.java:3)',
    "Uncaught TypeError: x is undefined\n    at f (app.js:1:2)\n    at app.js:9:1",
    "Unhandled exception. System.NullReferenceException: Object\n   at Shop.Run() in Shop.cs:line 4",
    "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.main()",
]


@pytest.mark.parametrize("text", HEALTHY + HEALTHY_LONG)
def test_a_healthy_answer_passes(text: str) -> None:
    assert check_text(text, finish_reason="stop", has_tool_calls=False) is None


@pytest.mark.parametrize("text", ERRORS_IN_SUCCESS)
def test_an_error_in_a_success_is_caught(text: str) -> None:
    problem = check_text(text, finish_reason="stop", has_tool_calls=False)

    assert problem is not None
    assert problem.fault is Fault.ERROR_IN_SUCCESS
    assert "error" in problem.detail


def test_the_tables_are_as_large_as_they_claim() -> None:
    assert len(set(HEALTHY + HEALTHY_LONG)) >= 120
    assert len(set(ERRORS_IN_SUCCESS)) >= 80


@pytest.mark.parametrize("text", ERRORS_IN_SUCCESS)
def test_an_answer_that_talks_about_an_error_is_none_itself(text: str) -> None:
    for around in ("The log says: {}", "{}\n\nThat is what the log says, and it means you should retry later."):
        assert check_text(around.format(text), finish_reason="stop", has_tool_calls=False) is None, around


@pytest.mark.parametrize(
    ("text", "finish_reason", "fault"),
    [
        (None, None, Fault.EMPTY),
        ("", "stop", Fault.EMPTY),
        (" ", "stop", Fault.WHITESPACE),
        ("\n\t \r\n", None, Fault.WHITESPACE),
        ("\u200b\ufeff\u00a0", "stop", Fault.WHITESPACE),
        ("\x00", "stop", Fault.WHITESPACE),
        ("A long answer that", "length", Fault.TRUNCATED),
        ("", "length", Fault.TRUNCATED),
        ("A long answer that", "max_tokens", Fault.TRUNCATED),
        ("A long answer that", "MAX_TOKENS", Fault.TRUNCATED),
        ("Sorry", "content_filter", Fault.FILTERED),
        (None, "content_filter", Fault.FILTERED),
        (None, "SAFETY", Fault.FILTERED),
        ("I can't", "refusal", Fault.FILTERED),
        ("half an ans", "error", Fault.ERROR_IN_SUCCESS),
        ("broken \ud83d", "stop", Fault.MALFORMED),
    ],
)
def test_no_answer_is_told_apart(text: str | None, finish_reason: str | None, fault: Fault) -> None:
    problem = check_text(text, finish_reason=finish_reason, has_tool_calls=False)

    assert problem is not None
    assert problem.fault is fault


@pytest.mark.parametrize("finish_reason", ["stop", None, "tool_call", "end_turn", "STOP", "tool_calls", "unheard_of"])
def test_other_finish_reasons_say_nothing(finish_reason: str | None) -> None:
    assert check_text("Yes", finish_reason=finish_reason, has_tool_calls=False) is None


def test_an_answer_that_calls_tools_needs_no_text() -> None:
    assert check_text(None, finish_reason="tool_call", has_tool_calls=True) is None
    assert check_text(" ", finish_reason="stop", has_tool_calls=True) is None


def test_calls_of_tools_that_were_cut_off_are_no_answer() -> None:
    problem = check_text("Let me see", finish_reason="length", has_tool_calls=True)

    assert problem == OutputProblem(Fault.TRUNCATED, "the answer was cut off (finish_reason length)")


def test_the_detail_quotes_nothing_of_the_answer() -> None:
    for text in ERRORS_IN_SUCCESS:
        problem = check_text(text, finish_reason=None, has_tool_calls=False)
        assert problem is not None
        assert text not in problem.detail


def test_a_hostile_nesting_is_no_crash() -> None:
    for text in ("[" * 9000 + "]" * 9000, "{'error': " * 1500 + "1" + "}" * 1500, '{"error": "\ud83d"}'):
        check_text(text, finish_reason=None, has_tool_calls=False)

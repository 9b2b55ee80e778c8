"""An agent with OpenAI's own client: asks for streamed responses, and asks again where one breaks off."""

import os
import sys

import openai

with openai.OpenAI(max_retries=0, default_headers={"x-plimsoll-run": os.environ["PLIMSOLL_RUN"]}) as client:
    question, again = sys.stdin.read(), ""
    while True:
        try:
            with client.responses.stream(model="primary", input=question + again) as stream:
                answer = stream.get_final_response()
        except openai.APIStatusError:
            raise
        except openai.APIError:
            continue  # what was shown is void
        if answer.output_text:
            break
        again += " again"
    print(answer.output_text)

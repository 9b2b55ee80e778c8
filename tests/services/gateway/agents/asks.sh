#!/bin/sh
# An agent in plain sh: asks a model with curl until that answers in words. Its one tool says "again".
asked=$(cat)
question=$asked
while :; do
    answer=$(curl --silent --show-error --fail-with-body "$OPENAI_BASE_URL/chat/completions" \
        --header "Authorization: Bearer $OPENAI_API_KEY" --header "Content-Type: application/json" \
        --header "x-plimsoll-run: $PLIMSOLL_RUN" \
        --data "{\"model\": \"primary\", \"messages\": [{\"role\": \"user\", \"content\": \"$question\"}]}") || {
        echo "$answer" >&2
        exit 1
    }
    case $answer in
    *'"tool_calls":['*) question="$asked again" ;;
    *) break ;;
    esac
done
printf '%s\n' "$answer" | sed 's/.*"content":"\([^"]*\)".*/\1/'

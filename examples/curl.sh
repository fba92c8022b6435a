#!/usr/bin/env bash
# Every route, from the shell: examples/curl.sh URL PICTURE PICTURE
set -euo pipefail
url=$1 first=$2 second=$3

# Is it ready? An engine build takes minutes; until it is over this is no 200.
curl -sS --fail --retry 60 --retry-delay 2 --retry-all-errors "$url/readyz"; echo

# What is served: classes, input size, limits.
curl -sS --fail "$url/model"; echo

# One picture. --retry repeats on 503 and 429 and waits for as long as Retry-After says.
curl -sS --fail --retry 5 --data-binary "@$first" "$url/detect"; echo

# Only some classes, and only what is certain.
curl -sS --fail --retry 5 --data-binary "@$first" "$url/detect?confidence=0.9&classes=car,truck"; echo

# Several pictures in one request; a bad one carries its own error and leaves the others alone.
curl -sS --fail --retry 5 -F "picture=@$first" -F "picture=@$second" -F "picture=@$0" "$url/detect"; echo

# An error has a status, a stable code and a message (without --fail, which would hide it).
curl -sS --data-binary "@$0" "$url/detect"; echo

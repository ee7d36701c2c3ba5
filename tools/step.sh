#!/usr/bin/env bash
# tools/step.sh "what this is" command [arguments]: says what runs, runs it, says how long it took.
set -uo pipefail
title=$1; shift
start=$(date +%s)
printf '\n== %s\n' "$title"
"$@"; status=$?
seconds=$(( $(date +%s) - start ))
if [ "$status" -eq 0 ]; then
  printf '== %s: done in %d s\n' "$title" "$seconds"
else
  printf '== %s: FAILED (exit %d) after %d s\n' "$title" "$status" "$seconds" >&2
fi
exit "$status"

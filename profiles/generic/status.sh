#!/usr/bin/env bash
# Says of a PBS job whether it is running, success or failed. A job that waits is running; one that was finished and
# forgotten has failed, as has one that was cancelled. Where the server does not answer, it is asked again later.
if ! said=$(qstat -x -f "$1" 2>&1); then
  [[ $said == *[Uu]nknown* ]] && echo failed || echo running
elif [[ ! $said =~ job_state\ =\ [FC] ]]; then
  echo running
elif [[ $said =~ [Ee]xit_status\ =\ 0([^0-9]|$) ]]; then
  echo success
else
  echo failed
fi

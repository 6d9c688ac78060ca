#!/usr/bin/env bash
# Says of a job of OpenPBS whether it is running, success or failed. A job that waits is running; one that was finished and
# forgotten has failed, as has one that was cancelled. Where the server does not answer, it is asked again later.
if ! said=$(qstat -x -f "$1" 2>&1); then
  [[ $said == *Unknown* ]] && echo failed || echo running
elif [[ ! $said =~ job_state\ =\ F ]]; then
  echo running
elif [[ $said =~ Exit_status\ =\ 0([^0-9]|$) ]]; then
  echo success
else
  echo failed
fi

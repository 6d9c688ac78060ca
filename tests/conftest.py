"""Tests compute with the instructions that the verbs use, so that both find the same bytes."""

from layerwise import environment

environment.same_instructions()

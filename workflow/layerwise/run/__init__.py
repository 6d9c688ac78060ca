"""The steps of a study on one node of its trie, and the machine under them."""

"""The bus as it is set up: accounts, streams, and what each partner may see of them."""

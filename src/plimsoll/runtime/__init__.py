"""The runtime: composes contract, policies, journal, oversight and observability into runs that survive."""

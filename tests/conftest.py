"""What all tests share: how Hypothesis works where each of a thousand mutants has to be caught, and not explained."""

from hypothesis import Phase, settings

settings.register_profile("mutation", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))

"""What all tests share: how Hypothesis works on a busy machine, and where each of a thousand mutants is to die."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # nothing is timed
settings.load_profile("tests")
settings.register_profile("mutation", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))

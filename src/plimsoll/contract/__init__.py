"""The contract: what was decided about an agent, as frozen, validated models."""

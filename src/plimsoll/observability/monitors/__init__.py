"""Monitors look at many runs: what no single one can see. They are told what is durable, and never raise on replay."""

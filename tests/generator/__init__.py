"""Labelled mail logs for the loop detector's tests: a small simulated world of people and machines, written as server logs.

`world` carries mails between simulated servers, `people`, `responders`, `loops` and `lookalikes` make the mails, `postfix`, `exim`
and `exchange` write what each server would have logged, `scenario` puts one case together with its truth.
"""

from tests.generator.scenario import MIXES, Scenario, generate, write

__all__ = ["MIXES", "Scenario", "generate", "write"]
